"""The command line: one short function per verb.

Exit codes: 0 done, 1 refused or failed, 2 wrong call.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from command import keys
from features.config import Config, Rung, load_config
from features.home import Home
from features.training_options import RankerName

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Ranked feeds that personalise only as far as it pays.")  # fmt: skip
app.add_typer(keys.app, name="keys")
ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="the shop's feeds.yaml")]
HomePath = Annotated[
    Path | None,
    typer.Option("--home", help="where everything is kept; default: .feeds beside the config"),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="a version or `champion`; default: the champion, else the newest"),
]
HERE = Path("feeds.yaml")


def main() -> None:
    """Run the command line; say what is wrong in a sentence, not in a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    warnings.filterwarnings("ignore", ".*Any type hint is inferred")  # MLflow, of itself
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    try:
        if several and sys.argv[1:2] in (["train"], ["retrain"]):
            from training.fitting.torch_run import lead  # under torchrun: helpers only help to fit

            lead(app)
        else:
            app()
    except (ValueError, OSError) as error:
        if os.environ.get("FEEDS_TRACEBACK"):
            raise
        typer.secho(f"feeds: {error}", fg="red", err=True)
        sys.exit(1)


def _shop(path: Path, home: Path | None) -> tuple[Config, Path, Home]:
    """The config, the directory it lies in, and its home."""
    return load_config(path), path.parent, Home(home or path.parent / ".feeds")


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="directory for the log")],
    customers: int = 2_000,
    items: int = 800,
    days: int = 120,
    events: int = 200_000,
    seed: int = 0,
) -> None:
    """Make a shop and its magazine with known tastes: log, catalogue, config, truth apart."""
    import simulation
    from command import show

    config = simulation.SimulationConfig(
        customers=customers, items=items, days=days, events=events, seed=seed
    )
    with show.progress_bar() as progress:
        simulation.simulate(config, out, progress=progress)
    show.console.print(f"simulated into {out}; next: feeds train -c {out / 'feeds.yaml'}")


@app.command()
def check(config: ConfigPath = HERE, home: HomePath = None) -> None:
    """Read every source by the contract and report; exit 1 when too much is rejected."""
    from command.check import check as report

    report(*_shop(config, home))


@app.command()
def build(
    config: ConfigPath = HERE,
    home: HomePath = None,
    as_of: Annotated[
        datetime | None, typer.Option(help="moment to describe (UTC); default: the last event")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="duckdb | spark; default: the config's")
    ] = None,
    master: Annotated[
        str | None, typer.Option(help="where Spark runs, such as spark://host:7077")
    ] = None,
) -> None:
    """Logs to feature set: clean, weigh, index; the same inputs are built once."""
    from command import show
    from features.build import build as build_features

    shop, base, place = _shop(config, home)
    shop = shop.on_engine(_one_of(engine, ("duckdb", "spark"), "--engine"), master)
    with show.progress_bar() as progress:
        features = build_features(shop, base, place, as_of=_utc(as_of), progress=progress)
    show.event_types(features.manifest["event_types"], shop)
    show.removed(features.manifest["removed"], features.manifest["respelled_items"])
    show.forgotten(features.manifest)
    show.everybody(features.manifest, shop)
    show.console.print(
        f"{len(features.timelines.items):,} events, {len(features.persons):,} people, "
        f"{len(features.items):,} items as of {features.manifest['as_of']} in {features.directory}"
    )


@app.command()
def train(
    config: ConfigPath = HERE,
    home: HomePath = None,
    rankers: Annotated[
        str | None, typer.Option(help="comma-separated; default: the config's")
    ] = None,
    as_of: Annotated[
        datetime | None, typer.Option(help="learn only up to this moment (UTC); default: all")
    ] = None,
    tune: Annotated[
        int | None, typer.Option(min=0, help="settings to try per ranker; default: the config's")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="for tuning all rankers together; default: the config's")
    ] = None,
) -> None:
    """Fit, judge on a time split, refit on everything, register; not served until promoted."""
    from command import show
    from training.jobs import train as run

    shop, base, place = _shop(config, home)
    shop = shop.with_tuning(tune, minutes)
    chosen = _rankers(rankers)
    with show.progress_bar() as progress:
        trained = run(shop, base, place, rankers=chosen, as_of=_utc(as_of), progress=progress)
    show.split(trained.measured.summary, trained.measured.cut)
    show.gains(trained.measured.gains, trained.measured.ladder)
    show.evidence(trained.measured.evidence)
    show.tried(trained.tried)
    for name, why in trained.skipped.items():
        show.console.print(f"skipped {name}: {why}", style="yellow")
    show.console.print(
        f"registered {trained.version} in {trained.seconds:.0f} s; "
        f"serve it with: feeds promote -c {config} {trained.version}"
    )


@app.command()
def evaluate(
    config: ConfigPath = HERE,
    home: HomePath = None,
    model: ModelName = None,
    truth: Annotated[
        Path | None, typer.Option(help="Parquet of person_id, item_id: what they chose")
    ] = None,
    people: Annotated[
        Path | None, typer.Option(help="Parquet of person_id and optionally recent")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="split | weeks | leave-last-out | session-next: judge anew")
    ] = None,
    weeks: Annotated[
        int | None, typer.Option(min=1, help="with --by weeks: the last so many; default 4")
    ] = None,
    refit: Annotated[bool, typer.Option("--refit", help="anew before each week")] = False,
    against: Annotated[
        str | None,
        typer.Option(help="a ranker (default: popularity), `policy up to RUNG` or another model"),
    ] = None,
    logged: Annotated[
        bool, typer.Option("--logged", help="off-policy: by the log's slots with propensities")
    ] = False,
    slices: Annotated[bool, typer.Option("--slices", help="by stage, segment, kind …")] = False,
    out: Annotated[Path | None, typer.Option(help="all metrics as .parquet or .csv")] = None,
) -> None:
    """How a model did: as it was trained, judged anew, or on people and truth of your own."""
    from command import evaluate as judging
    from command.off_policy import evaluate_logged

    shop, base, place = _shop(config, home)
    if (truth is None) != (people is None):
        raise typer.BadParameter("give --truth and --people together")
    if (weeks or refit) and by != "weeks":
        raise typer.BadParameter("--weeks and --refit go with --by weeks")
    anew = bool(by or slices or out or against)
    if (truth is not None) + logged + anew > 1:
        raise typer.BadParameter("judge by one of --truth, --logged, or --by and what goes with it")
    if truth is not None and people is not None:
        judging.evaluate_given(place, model, people, truth)
    elif logged:
        evaluate_logged(shop, base, place, model)
    elif anew:
        how = _one_of(by or "split", judging.By, "--by")
        asked = judging.Asked(how, weeks or 4, refit, against or "popularity", slices, out)
        judging.evaluate_by(asked, shop, base, place, model)
    else:
        judging.evaluate_stored(place, model)


@app.command()
def promote(
    version: Annotated[str | None, typer.Argument(help="default: the newest")] = None,
    config: ConfigPath = HERE,
    home: HomePath = None,
    back: Annotated[bool, typer.Option("--back", help="serve the champion before")] = False,
    force: Annotated[bool, typer.Option("--force", help="past the gate; needs --why")] = False,
    why: Annotated[str | None, typer.Option(help="the reason, kept in the record")] = None,
) -> None:
    """Serve a version if it passes the gate: pointer and alias move together, services follow."""
    from command import gate

    if force != bool((why or "").strip()):
        raise typer.BadParameter("--force and --why TEXT go together")
    if back and (force or version):
        raise typer.BadParameter("--back takes neither a version nor --force")
    shop, _, place = _shop(config, home)
    if back:
        gate.go_back(shop, place)
    elif force:
        gate.force(shop, place, version, str(why))
    else:
        gate.promote(shop, place, version)


@app.command()
def retrain(config: ConfigPath = HERE, home: HomePath = None) -> None:
    """For a scheduler: build, train, judge and promote, as far as there is anything new."""
    from command import gate

    gate.retrain(*_shop(config, home))


@app.command()
def forget(
    user_id: Annotated[str | None, typer.Argument(help="the customer's id")] = None,
    config: ConfigPath = HERE,
    home: HomePath = None,
    visitor: Annotated[
        list[str] | None, typer.Option(help="a device of theirs, or of somebody unknown")
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="prove and finish what the service was told")
    ] = False,
    everybody: Annotated[bool, typer.Option("--list", help="show all proofs")] = False,
) -> None:
    """Forget a person: at once in the service, then in all that is built and trained."""
    from command import forget as forgetting

    if (user_id is not None or bool(visitor)) + pending + everybody != 1:
        raise typer.BadParameter("name a USER_ID or --visitor, or else --pending or --list")
    shop, _, place = _shop(config, home)
    if everybody:
        forgetting.listed(place)
    elif pending:
        forgetting.pending(shop, place)
    else:
        forgetting.forget(shop, place, user_id, visitor or [])


@app.command()
def serve(
    config: ConfigPath = HERE,
    home: HomePath = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    host: Annotated[
        str, typer.Option(help="the address to listen on; another than 127.0.0.1 needs keys")
    ] = "127.0.0.1",
    is_open: Annotated[
        bool, typer.Option("--open", help="without keys, too, wherever it listens")
    ] = False,
) -> None:
    """Serve the promoted model until stopped; follows every later `feeds promote`."""
    from command import show
    from command.demo import free_port, serve_command
    from command.keys import open_to

    _, _, place = _shop(config, home)
    if place.current() is None:
        raise ValueError(f"nothing is promoted under {place.root}; run `feeds promote` first")
    if free_port(port) != port:
        raise ValueError(f"port {port} is taken; choose another with --port")
    command, environment = serve_command(place, port, workers, config, host)
    environment["FEEDS_OPEN"] = open_to(place, host, is_open=is_open)
    show.console.print(f"feeds: POST http://{host}:{port}/feed, API docs: http://{host}:{port}/")
    os.execve(command[0], command, environment)


@app.command()
def rank(
    people: Annotated[Path, typer.Option(help="Parquet: person_id; also user_id, recent, at")],
    out: Annotated[Path, typer.Option(help="Parquet to write")],
    config: ConfigPath = HERE,
    home: HomePath = None,
    size: Annotated[int, typer.Option(min=1)] = 20,
    model: ModelName = None,
    rung: Annotated[str | None, typer.Option(help="no higher than this rung")] = None,
    ranker: Annotated[str | None, typer.Option(help="let this one speak first")] = None,
    repeat: Annotated[
        str | None, typer.Option(help="allow | exclude; default: the config's")
    ] = None,
    stream: Annotated[
        Path | None, typer.Option(help="events in the log's shape; people with `at` ask among them")
    ] = None,
) -> None:
    """Rank feeds for many people at once, by the policy as in serving; needs no promoted model."""
    from command import show
    from training.batch import Wish, rank_file
    from training.bundle import open_bundle

    _, _, place = _shop(config, home)
    bundle = open_bundle(place, model)
    wish = Wish(
        size,
        _one_of(ranker, RankerName, "--ranker"),
        _one_of(rung, Rung, "--rung"),
        _one_of(repeat, ("allow", "exclude"), "--repeat"),
        stream,
    )
    with show.progress_bar() as progress:
        done = rank_file(bundle, people, out, wish, progress)
    show.console.print(
        f"model {bundle.version}: {done.rows:,} rows for {done.people:,} people in "
        f"{done.seconds:.1f} s → {out}"
    )
    for note in done.notes:
        show.console.print(note, style="yellow")


@app.command()
def audience(
    out: Annotated[Path, typer.Option(help="Parquet or CSV to write, by the name's ending")],
    item: Annotated[list[str] | None, typer.Option(help="an item; may be given often")] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="a category path; may be given often")
    ] = None,
    message: Annotated[
        list[str] | None, typer.Option(help="a key message by its name; may be given often")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="customers for each, at most")] = 1000,
    config: ConfigPath = HERE,
    home: HomePath = None,
    model: ModelName = None,
) -> None:
    """For items, categories or messages: the customers most likely to care, each in one only."""
    from command.audience import find, find_for_messages
    from training.bundle import open_bundle

    if bool(item or category) == bool(message):
        raise typer.BadParameter(
            "name what it is about: --item ID and --category PATH, or else --message NAME"
        )
    shop, _, place = _shop(config, home)
    if message:
        find_for_messages(open_bundle(place, model), shop, message, size, out)
    else:
        find(open_bundle(place, model), item or [], category or [], size, out)


@app.command()
def report(
    what: Annotated[str, typer.Argument(help="data | evidence | uplift | fallbacks")],
    config: ConfigPath = HERE,
    home: HomePath = None,
    model: Annotated[
        str | None,
        typer.Option(help="of evidence: a version or `champion`; default: the champion"),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=366,
            help="of uplift: how long each person counts (14); of fallbacks: how far back (7)",
        ),
    ] = None,
) -> None:
    """The log, for whom a personal feed pays, what experiments show, what requests got: a page."""
    _one_of(what, ("data", "evidence", "uplift", "fallbacks"), "report")
    if model is not None and what != "evidence":
        raise typer.BadParameter("--model goes with `feeds report evidence`")
    if days is not None and what not in ("uplift", "fallbacks"):
        raise typer.BadParameter("--days goes with `feeds report uplift` and `fallbacks`")
    shop, base, place = _shop(config, home)
    if what == "data":
        from command.report import data_report

        data_report(shop, base, place)
    elif what == "evidence":
        from command.evidence import evidence_report

        evidence_report(base.resolve().name, place, model)
    elif what == "uplift":
        from command.uplift import uplift_report

        uplift_report(shop, base, place, days)
    else:
        from command.fallbacks import fallbacks_report

        fallbacks_report(shop, base, place, days)


@app.command()
def demo(
    example: Annotated[
        str | None, typer.Option(help="a real log instead of the simulated shop")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="where that log lies")] = None,
    out: Annotated[Path, typer.Option(help="where the demo keeps everything")] = Path(
        ".feeds/demo"
    ),
    once: Annotated[bool, typer.Option(help="stop after the four feeds")] = False,
    port: int = 3000,
) -> None:
    """Do the whole job once: log → check → train → promote → serve → four feeds → where to look."""
    from command.tour import tour

    if (example is None) != (data is None):
        raise typer.BadParameter("--example and --data go together")
    tour(
        out, example, data, port=port, stay=not once and sys.stdin.isatty() and sys.stdout.isatty()
    )


@app.command()
def mail(
    placement: Annotated[
        list[str], typer.Option(help="a block of the mail; once for each, in their order")
    ],
    out: Annotated[Path, typer.Option(help="directory for the files of this mailing")],
    config: ConfigPath = HERE,
    home: HomePath = None,
    recipients: Annotated[
        Path | None, typer.Option(help="the list: user_id …; default: all customers of the model")
    ] = None,
    mailing: Annotated[
        str | None, typer.Option(help="its name, for links and reports; default: the day")
    ] = None,
    model: ModelName = None,
    at: Annotated[
        datetime | None, typer.Option(help="the moment (UTC), where the clock is as_of")
    ] = None,
    html: Annotated[bool, typer.Option(help="also every mail as HTML and plain text")] = False,
    trial: Annotated[bool, typer.Option(help="remember nothing of it")] = False,
    preview: Annotated[
        bool, typer.Option(help="only a page with some kinds of readers beside one another")
    ] = False,
) -> None:
    """The right items for everybody on a list, once, or no mail at all; files for the sender."""
    from command.mail import mail as send
    from command.mail_preview import preview as look
    from command.mail_wish import Wish

    wish = Wish(tuple(placement), out, recipients, mailing, model, html, trial, _utc(at))
    (look if preview else send)(*_shop(config, home), config, wish)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _rankers(text: str | None) -> list[RankerName] | None:
    if text is None:
        return None
    return [_one_of(name.strip(), RankerName, "--rankers") for name in text.split(",")]


def _one_of(value: str | None, choices: Any, option: str) -> Any:
    """`value` if it is among `choices` (a Literal or a tuple), else a misuse of the command."""
    known = getattr(choices, "__args__", choices)
    if value is not None and value not in known:
        raise typer.BadParameter(f"{option} {value!r} is none of {', '.join(known)}")
    return value


if __name__ == "__main__":
    main()
