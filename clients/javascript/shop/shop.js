// What a shop has of its own: its consent tool, its basket, and words above the feeds.
const bar = document.getElementById("consent");
const said = localStorage.getItem("personalise");
bar.hidden = said !== null;
if (said === "yes") feeds.consent(true);

for (const button of document.querySelectorAll("button[data-consent]"))
  button.addEventListener("click", () => {
    localStorage.setItem("personalise", button.dataset.consent);
    bar.hidden = true;
    feeds.consent(button.dataset.consent === "yes");
    if (button.dataset.consent === "no") name_feeds("shop");
  });

for (const button of document.querySelectorAll("[data-cart]"))
  button.addEventListener("click", () => {
    const { cart, value, currency } = button.dataset;
    document.getElementById("basket").textContent++;
    feeds.event("cart", cart, { value: +value, currency, quantity: 1 });
  });

function name_feeds(whose, box = document) {
  for (const heading of box.querySelectorAll("h2")) {
    heading.dataset.shop = heading.dataset.shop || heading.textContent;
    heading.textContent = whose === "shop" ? heading.dataset.shop : heading.dataset.forYou;
  }
}
document.addEventListener("feed", ({ target }) => name_feeds("person", target.parentElement));
