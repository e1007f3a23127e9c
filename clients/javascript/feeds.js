// Purposeful Feeds on a shop page: docs/clients.md says how. ES2018, no dependencies.
// Before the shopper has agreed nothing is asked, told or stored; whatever fails, the page keeps
// what the shop's server has put there. Pages include feeds.min.js, which `make snippet` makes.
(() => {
  const options = document.currentScript.dataset;
  const cookie = "feeds_visitor"; // a cookie, for the shop's own server to read
  let visitor = ""; // this browser; empty: the shopper has not agreed
  let waiting = []; // events that have not been sent
  const own = new Map(); // container -> what the shop's server had put there

  // not randomUUID: pages without TLS lack it
  const random = () =>
    crypto.getRandomValues(new Uint32Array(4)).reduce((id, part) => id + part.toString(36), "");

  // the key is in the address because a beacon has no headers; a page's key is public anyway
  const address = (path) =>
    options.url.replace(/\/?$/, "/") + path + (options.key ? "?key=" + options.key : "");

  // keepalive: it is sent even when the page goes; after 2 s a feed would only make the page jump
  const post = (path, request) => {
    const limit = new AbortController();
    setTimeout(() => limit.abort(), 2000);
    return fetch(address(path), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
      keepalive: true,
      signal: limit.signal,
    });
  };

  const send = () => {
    if (!waiting.length) return;
    const request = { events: waiting };
    waiting = [];
    const body = new Blob([JSON.stringify(request)], { type: "application/json" });
    if (!navigator.sendBeacon(address("events"), body)) post("events", request).catch(() => {});
  };

  // without a moment: the service's counts, for a shopper's clock may be wrong by days
  const tell = (event_type, item_id, more) => {
    if (!visitor) return;
    waiting.push({ event_id: random(), visitor_id: visitor, event_type, item_id, ...more });
    if (!waiting[1]) setTimeout(send, 5000); // the first one waits for others
  };

  const event = (type, item_id, more) => {
    tell(type, item_id, more);
    send();
  };

  // text as text and links as links: nothing of an item becomes markup or script
  const put = (element, item) => {
    const name = element.dataset.field;
    const value = item[name];
    if (/url/.test(name)) {
      const link = value && new URL(value, document.baseURI);
      if (link && /^http/.test(link.protocol)) element[name === "url" ? "href" : "src"] = link;
    } else if (name) {
      const money = name === "price" && value !== null && item.currency;
      element.textContent = money
        ? value.toLocaleString(document.documentElement.lang || [], {
            style: "currency",
            currency: item.currency,
          })
        : value;
    }
  };

  // tells of an item once half of it has been in view for half a second, and of clicks on its links
  const watch = (element, item, decision, types) => {
    const { item_id, position } = item;
    const { decision_id, placement } = decision;
    const where = { decision_id, placement, position };
    // under this name a build knows the impression that the service has noted itself
    const event_id = decision_id + "." + position;
    let timer;
    const view = new IntersectionObserver(
      ([{ intersectionRatio }]) => {
        clearTimeout(timer);
        if (intersectionRatio > 0.49) // of rounded pixels half may be a little less
          timer = setTimeout(() => {
            view.disconnect();
            tell(types.impression || "impression", item_id, { ...where, event_id });
          }, 500);
      },
      { threshold: 0.5 },
    );
    view.observe(element);
    const clicked = ({ button, target }) => {
      if (button < 2 && target.closest("a")) event(types.click || "view", item_id, where);
    };
    element.addEventListener("click", clicked);
    element.addEventListener("auxclick", clicked); // the middle button opens a tab
  };

  const fill = async (box) => {
    const asker = visitor;
    const template = box.querySelector("template");
    const { feed, size, item, category } = box.dataset;
    const request = { placement: feed, visitor_id: asker, item_id: item, category };
    if (size) request.size = +size;
    try {
      const response = await post("feed", request);
      const answer = await response.json();
      if (!response.ok) throw answer.error;
      const elements = answer.items.map((one) => {
        const element = template.content.firstElementChild.cloneNode(true);
        [element, ...element.querySelectorAll("[data-field]")].forEach((part) => put(part, one));
        return element;
      });
      if (visitor !== asker) return; // taken back meanwhile
      if (!own.has(box)) own.set(box, [...box.childNodes]);
      box.textContent = "";
      box.append(template, ...elements);
      box.hidden = !elements[0]; // the shop wants nothing shown here to this person
      const types = { ...options, ...box.dataset };
      elements.forEach((element, n) => watch(element, answer.items[n], answer, types));
      box.dispatchEvent(new CustomEvent("feed", { bubbles: true, detail: answer }));
    } catch (error) {
      console.warn("feeds:", error);
    }
  };

  const show = () => {
    if (visitor) document.querySelectorAll("[data-feed]").forEach(fill);
  };

  const keep = (id, seconds) => {
    const secure = location.protocol === "https:" ? ";secure" : "";
    document.cookie = `${cookie}=${id};max-age=${seconds};path=/;samesite=lax${secure}`;
  };

  const consent = async (personalise) => {
    const known = (document.cookie.match("\\b" + cookie + "=(\\w+)") || [])[1] || visitor;
    const say = (visitor_id) =>
      post("preferences", { visitor_id, personalise }).catch(() => ({}));
    if (personalise) {
      if (visitor) return;
      const id = (visitor = known || random());
      // kept once the service knows that the shopper agreed; until then every page says it again
      if (!known && (await say(id)).ok && visitor === id) keep(id, 31536000); // a year
      return show();
    }
    visitor = "";
    waiting = [];
    if (known) {
      keep("", 0);
      say(known);
    }
    own.forEach((nodes, box) => {
      box.textContent = "";
      box.append(...nodes);
      box.hidden = false;
    });
  };

  addEventListener("pagehide", send);
  addEventListener("visibilitychange", send);
  window.feeds = { consent, event, show };
  if (options.consent) consent(options.consent === "yes");
})();
