// The front page: asks the service, draws what it answers. Every text goes in as text, never as HTML.
"use strict";

const WORDS = {
  en: {
    skip: "Skip to the shelf", headline: "A shelf and its story, made for one shopper.", shopper: "Shopper: the shop’s own id", show: "Show the shelf",
    compare: "Compare with", popular: "what everybody buys, whoever asks", plain: "copy that is the same for everybody", key: "Key of the service",
    profile: "What this shopper cares for", behaviour: "what they did", social: "their circles", preference: "what they said",
    none: "Nothing is known of this shopper yet.", weights: "How much each signal counts", shelf: "The shelf", api: "The API",
    asking: "Asking…", products: "products", category: "category", brand: "brand", story: "Read its story", tone: "Tone", own: "the shopper’s own",
    title: "Title", push: "Push message", email: "E-mail", article: "Article", facts: "Facts it states", nothing: "There is nothing to show.",
    now: "shop’s time", models: "Models", close: "Close",
    view: "looked", cart: "cart", purchase: "bought", review: "rated", follow: "people followed", group: "groups", like: "likes", dislike: "dislikes",
    plain_tone: "plain", warm: "warm", playful: "playful", expert: "expert",
    new_user: "New to the shop: this is what everybody buys.", fewer_items: "The rules left fewer products than were asked for.",
    template_copy: "Some copy comes from a template.", stale_embedding: "The features are newer than the models.",
    lang_en: "English", lang_zh: "Chinese", price_level: (v) => `usually chooses ${v < 0.34 ? "lower" : v > 0.66 ? "higher" : "middle"} prices`,
    language: (l) => `reads ${l === "zh" ? "Chinese" : "English"}`,
  },
  zh: {
    skip: "跳到货架", headline: "为每一位顾客，摆一架好物，讲一段故事。", shopper: "顾客：商店自己的编号", show: "查看货架",
    compare: "对照", popular: "不看是谁，只看大家都买什么", plain: "对所有人都一样的文案", key: "服务密钥",
    profile: "这位顾客关心什么", behaviour: "行为", social: "社交圈", preference: "偏好",
    none: "对这位顾客还一无所知。", weights: "每种信号的权重", shelf: "货架", api: "接口文档",
    asking: "正在查询……", products: "件商品", category: "品类", brand: "品牌", story: "读它的故事", tone: "语气", own: "按顾客习惯",
    title: "标题", push: "推送", email: "邮件", article: "文章", facts: "文中事实", nothing: "没有可以展示的内容。",
    now: "商店时间", models: "模型", close: "关闭",
    view: "浏览", cart: "加购", purchase: "购买", review: "评价", follow: "关注的人", group: "群组", like: "喜欢", dislike: "不喜欢",
    plain_tone: "平实", warm: "温暖", playful: "俏皮", expert: "专业",
    new_user: "新顾客：这里展示大家都在买的商品。", fewer_items: "按规则筛选后，商品少于所要求的数量。",
    template_copy: "部分文案来自模板。", stale_embedding: "特征比模型更新。",
    lang_en: "英文", lang_zh: "中文", price_level: (v) => `常选${v < 0.34 ? "较低" : v > 0.66 ? "较高" : "中等"}价位`,
    language: (l) => `阅读${l === "zh" ? "中文" : "英文"}`,
  },
};
const SOURCES = ["behaviour", "social", "preference"];
const TONES = ["", "plain", "warm", "playful", "expert"];
const state = { language: "en", shop: null, asked: null, profile: null, feed: null, texts: {}, turn: 0, clicked: false };
const $ = (id) => document.getElementById(id);
const say = (word) => WORDS[state.language][word] ?? word;
const other = (language) => (language === "en" ? "zh" : "en");

/** An element with text and attributes; children are elements. */
function make(tag, { text, children = [], ...attributes } = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter(Boolean));
  return element;
}

async function ask(path, body) {
  const headers = body ? { "content-type": "application/json" } : {};
  if ($("key").value) headers["x-api-key"] = $("key").value;
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  const content = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(content.error.message), { code: content.error.code });
  return content;
}

/** A letter's link names its decision (r) and product (p): whoever comes by it clicked. The event's id is made of both, so a reload counts once. */
async function keepClick() {
  const link = new URLSearchParams(location.search);
  const [decision, product] = [link.get("r"), link.get("p")];
  if (!decision || !product || state.clicked) return;
  const click = { event_type: "click", event_id: `click-${decision}-${product}`.slice(0, 200), event_time: state.shop.now };
  try {
    await ask("/v1/events", { events: [{ ...click, request_id: decision, product_id: product, channel: "email" }] });
    state.clicked = true;
  } catch (error) {
    if (error.code === "unauthorized") $("key-field").hidden = false; // sent again when a shelf is shown with the key
  }
}

function tell(text, problem = false) {
  $("status").textContent = text;
  $("status").classList.toggle("problem", problem);
}

async function show(shopper) {
  const turn = ++state.turn;
  const policy = $("popular").checked ? "popular" : "default";
  const copy = $("plain").checked ? "plain" : "personalised";
  tell(say("asking"));
  $("found").classList.add("waiting");
  try {
    const [profile, feed] = await Promise.all([
      ask("/v1/profile", { user_id: shopper }),
      ask("/v1/feed", { user_id: shopper, n: 12, language: "en", surface: "front_page", policy, copy }),
    ]);
    if (turn !== state.turn) return;
    Object.assign(state, { asked: shopper, profile, feed, texts: {} });
    for (const item of feed.items) state.texts[item.product_id] = { en: item.copy };
    tell("");
    draw();
    keepClick();
    const ids = feed.items.map((item) => item.product_id);
    if (ids.length && state.shop.languages.includes("zh")) {
      const chinese = await ask("/v1/content", { user_id: shopper, product_ids: ids, channel: "push", language: "zh", copy });
      if (turn !== state.turn) return;
      for (const variant of chinese.variants) state.texts[variant.product_id].zh = variant;
      draw();
    }
    const url = new URL(location.href);
    url.hash = "";
    history.replaceState(null, "", url);
  } catch (error) {
    if (turn === state.turn) tell(error.message, true);
    if (error.code === "unauthorized") $("key-field").hidden = false;
  } finally {
    if (turn === state.turn) $("found").classList.remove("waiting");
  }
}

function draw() {
  document.documentElement.lang = state.language === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  for (const button of document.querySelectorAll(".tongue")) button.setAttribute("aria-pressed", button.dataset.language === state.language);
  if (state.shop) drawShop();
  if (state.feed) {
    $("found").hidden = false;
    drawProfile();
    drawShelf();
  }
}

function drawShop() {
  const { shop } = state;
  const at = new Intl.DateTimeFormat(state.language === "zh" ? "zh-CN" : "en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" }).format(new Date(shop.now));
  $("shop").textContent = `${shop.name || shop.shop} · ${shop.products.toLocaleString()} ${say("products")} · ${say("now")} ${at} UTC`;
  $("models").textContent = `${say("models")}: ${Object.entries(shop.models).map(([kind, version]) => `${kind} ${version}`).join(" · ")}`;
  $("chips").hidden = !shop.sample_shoppers.length;
  $("chips").replaceChildren(...shop.sample_shoppers.map((id) => make("button", {
    type: "button", text: id, "aria-pressed": String(id === state.asked),
    onclick: () => { $("shopper").value = id; show(id); },
  })));
  $("samples").replaceChildren(...shop.sample_shoppers.map((id) => make("option", { value: id })));
  $("key-field").hidden = $("key-field").hidden && !shop.key_required;
}

function drawProfile() {
  const { profile } = state;
  const about = [profile.language && say("language")(profile.language), profile.price_level !== null && say("price_level")(profile.price_level)];
  $("who").textContent = [state.asked, ...about].filter(Boolean).join(" · ");
  $("none").hidden = profile.interests.length > 0;
  const shown = profile.interests.slice(0, 14);
  const widest = Math.max(...shown.map((interest) => Math.max(...sides(interest))), 1e-9);
  $("interests").replaceChildren(...shown.map((interest) => drawInterest(interest, widest)));
  $("weights").replaceChildren(...Object.entries(profile.signal_weights).flatMap(([signal, weight]) => [
    make("dt", { text: say(signal) }), make("dd", { text: weight.toFixed(3) }),
  ]));
}

/** How far an interest's parts reach to the left (against) and to the right (for). */
function sides(interest) {
  const values = SOURCES.map((source) => interest[source]);
  return [-values.filter((v) => v < 0).reduce((a, b) => a + b, 0), values.filter((v) => v > 0).reduce((a, b) => a + b, 0)];
}

function drawInterest(interest, widest) {
  const bar = make("div", { class: "bar", "aria-hidden": "true" });
  const reach = { left: 50, right: 50 };
  for (const source of SOURCES) {
    const width = (Math.abs(interest[source]) / widest) * 50;
    if (!width) continue;
    const part = make("i", { class: source });
    part.style.width = `${width}%`;
    if (interest[source] > 0) { part.style.left = `${reach.right}%`; reach.right += width; }
    else { reach.left -= width; part.style.left = `${reach.left}%`; }
    bar.append(part);
  }
  const evidence = interest.evidence.map((each) => `${say(each.signal)} ${Number(each.value.toFixed(1))}`).join(" · ");
  return make("li", { class: `interest${interest.weight < 0 ? " against" : ""}`, children: [
    make("div", { class: "name", children: [
      make("span", { text: interest.subject, children: [make("span", { class: "kind", text: say(interest.kind) })] }),
      make("span", { class: "number", text: (interest.weight > 0 ? "+" : "") + interest.weight.toFixed(2) }),
    ] }),
    bar,
    make("p", { class: "evidence", text: evidence }),
  ] });
}

function drawShelf() {
  const { feed } = state;
  const notes = feed.degraded.map((name) => WORDS[state.language][name]).filter(Boolean);
  if (!feed.items.length) notes.push(say("nothing"));
  $("degraded").textContent = notes.join(" ");
  $("degraded").hidden = !notes.length;
  $("shelf").replaceChildren(...feed.items.map(drawCard));
}

function titleOf(item) {
  return (state.language === "zh" && item.title_zh) || item.title || item.product_id;
}

function drawCard(item) {
  const texts = state.texts[item.product_id] ?? {};
  const lines = [state.language, other(state.language)].filter((language) => texts[language]);
  return make("li", { class: "card", children: [
    make("div", { class: "art", children: [picture(item), make("span", { class: "rank", text: item.rank })] }),
    make("div", { class: "inside", children: [
      make("div", { class: "where", children: [
        make("span", { text: [item.category, item.brand].filter(Boolean).join(" · ") }),
        item.price !== null && make("span", { class: "price", text: money(item) }),
      ] }),
      make("h3", { text: titleOf(item) }),
      ...lines.map((language, place) => make("p", {
        class: place ? "copy second" : "copy", lang: language === "zh" ? "zh-Hans" : "en", text: texts[language].text ?? texts[language].body,
      })),
      make("ul", { class: "reasons", children: item.reasons.map((reason) => make("li", { text: state.language === "zh" ? reason.text_zh : reason.text })) }),
      make("button", { type: "button", class: "open", text: say("story"), onclick: () => story(item, "") }),
    ] }),
  ] });
}

function money(item) {
  const locale = state.language === "zh" ? "zh-CN" : "en";
  if (!item.currency) return item.price.toLocaleString(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return new Intl.NumberFormat(locale, { style: "currency", currency: item.currency }).format(item.price);
}

/** The dialog with all four kinds of text in the page's language. */
async function story(item, tone) {
  $("story-title").textContent = titleOf(item);
  $("tones").replaceChildren(...TONES.map((each) => make("button", {
    type: "button", text: each === "" ? say("own") : each === "plain" ? say("plain_tone") : say(each), "aria-pressed": String(each === tone),
    onclick: () => story(item, each),
  })));
  $("texts").replaceChildren(make("p", { text: say("asking") }));
  if (!$("story").open) $("story").showModal();
  const { language, asked } = state;
  const request = (channel) => ask("/v1/content", {
    user_id: asked, product_ids: [item.product_id], channel, language, ...(tone ? { tone } : {}),
  });
  try {
    const answers = await Promise.all(["title", "push", "email", "article"].map(request));
    $("texts").replaceChildren(...answers.flatMap((answer) => answer.variants).map((variant) => drawText(variant)));
  } catch (error) {
    $("texts").replaceChildren(make("p", { text: error.message }));
  }
}

function drawText(variant) {
  const lang = variant.language === "zh" ? "zh-Hans" : "en";
  const facts = variant.facts.map((fact) => `${fact.name}: ${fact.value}`).join(" · ");
  return make("section", { children: [
    make("h3", { text: `${say(variant.channel)}${variant.tone ? ` · ${variant.tone === "plain" ? say("plain_tone") : say(variant.tone)}` : ""}` }),
    variant.subject && make("p", { class: "subject", lang, text: variant.subject }),
    make("p", { lang, text: variant.text ?? variant.body }),
    facts && make("p", { class: "facts", text: `${say("facts")}: ${facts}` }),
  ] });
}

/** A drawn picture: colours are those of the category, forms those of the product. Pictures of the shop lie elsewhere and are not loaded. */
function picture(item) {
  const seed = (text) => [...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 7);
  const hue = seed(item.category ?? item.product_id) % 360;
  const turn = seed(item.product_id);
  const shape = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const svg = shape("svg", { viewBox: "0 0 320 180", role: "img", "aria-label": item.category ?? "" });
  svg.append(shape("rect", { width: 320, height: 180, fill: `hsl(${hue} 34% 86%)` }));
  svg.append(shape("circle", { cx: 60 + (turn % 200), cy: 40 + (turn % 60), r: 46 + (turn % 30), fill: `hsl(${(hue + 24) % 360} 46% 76%)` }));
  svg.append(shape("path", { d: `M0 ${120 + (turn % 26)} C 90 ${84 + (turn % 40)}, 190 ${168 - (turn % 36)}, 320 ${104 + (turn % 32)} V180 H0 Z`, fill: `hsl(${(hue + 350) % 360} 36% 62%)` }));
  svg.append(shape("path", { d: `M0 ${150 + (turn % 12)} C 110 ${126 + (turn % 20)}, 210 ${176 - (turn % 16)}, 320 ${146 + (turn % 16)} V180 H0 Z`, fill: `hsl(${hue} 34% 42%)` }));
  const letter = shape("text", { x: 300, y: 44, "text-anchor": "end", "font-size": 30, "font-family": "Georgia, serif", fill: `hsl(${hue} 40% 30%)`, opacity: 0.75 });
  letter.textContent = [...(item.category ?? "·")][0];
  svg.append(letter);
  return svg;
}

async function start() {
  state.language = (navigator.language ?? "en").toLowerCase().startsWith("zh") ? "zh" : "en";
  for (const button of document.querySelectorAll(".tongue")) {
    button.addEventListener("click", () => { state.language = button.dataset.language; draw(); });
  }
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); show($("shopper").value.trim()); });
  for (const box of ["popular", "plain"]) $(box).addEventListener("change", () => { if (state.asked) show(state.asked); });
  draw();
  try {
    state.shop = await ask("/v1/shop");
    draw();
    keepClick();
    const named = new URLSearchParams(location.hash.slice(1)).get("shopper") || state.shop.sample_shoppers[0];
    if (named) {
      $("shopper").value = named;
      await show(named);
    }
  } catch (error) {
    tell(error.message, true);
  }
}

start();
