"""Why a decision is what it is, in words for those who run the shop."""

from __future__ import annotations

from collections.abc import Mapping

WHY: Mapping[str, str] = {  # name of a `training.policy.Reason` -> words
    "known_history": "their history is known, and was used",
    "told_us": "no history, but they told us what they like",
    "known_segment": "their segment is known, no more was needed",
    "current_session": "only this visit is known",
    "stranger": "nothing is known of them",
    "unknown_user": "a user_id that nobody knows: is the log complete?",
    "no_consent": "they have not agreed to be known",
    "limit": "the placement, the arm or the request allows no more",
    "not_on_ladder": "more is known, but no ranker uses it",
    "does_not_pay": "more is known, but evidence says that it does not pay",
    "no_opinion": "the ranker that should speak had nothing to say",
    "too_few_items": "fewer items were left than the placement wants",
    "nothing_allowed": "rules and wishes left no item",
    "degraded": "the store was away",
    "no_email_consent": "they have not agreed to get mails",
    "frequency_reached": "they had as many mails of late as they want",
    "other_channel": "they would rather not hear by e-mail",
    "nothing_new": "there is nothing that their last mail did not show",
    "just_bought": "they have only just ordered",
    "stale_profile": "they have done nothing for so long that what is known says little",
    "low_confidence": "too little is known of them",
    "holdout": "an experiment keeps them out, to measure what mails do",
    "forgotten": "they asked to be forgotten",
}
