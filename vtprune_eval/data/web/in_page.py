"""Scripts that run inside a page: words are replaced, fonts fixed, places read after layout."""

from __future__ import annotations

# Characters of the Latin subset that the fonts hold; whatever else a page says is left out.
KNOWN = (
    r"\u0020-\u007e\u00a0-\u00ff\u0131\u0152\u0153\u02c6\u02da\u02dc"
    r"\u2013\u2014\u2018-\u201e\u2022\u2026\u2039\u203a\u20ac\u2122\u2212"
)

# (words, seed) => every visible word by another one, the same for the same; digits by digits; same shape of letters.
REPLACE = (
    """
([words, seed]) => {
  let s = seed >>> 0;
  const draw = n => { s = (Math.imul(s, 1664525) + 1013904223) >>> 0; return Math.floor(s / 2 ** 32 * n); };
  const left = words.slice();
  const known = new Map();
  const cased = (word, like) => like === like.toUpperCase() && like.length > 1 ? word.toUpperCase()
    : like[0] === like[0].toUpperCase() ? word[0].toUpperCase() + word.slice(1) : word;
  const other = word => {
    const key = word.toLowerCase();
    if (!known.has(key)) {
      let pool = left.filter(w => Math.abs(w.length - word.length) <= 1);
      if (!pool.length) pool = left.length ? left : words;
      const at = pool[draw(pool.length)];
      const i = left.indexOf(at);
      if (i >= 0) left.splice(i, 1);
      known.set(key, at);
    }
    return cased(known.get(key), word);
  };
  const change = text => text.replace(/[^"""
    + KNOWN
    + """\\n\\t]/g, '').replace(/[A-Za-z]{3,}/g, other)
    .replace(/[0-9]/g, (d, at, all) => /[0-9]/.test(all[at - 1] || '') || '0' === d ? String(draw(10))
      : String(1 + draw(9)));
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walk.nextNode()) nodes.push(walk.currentNode);
  for (const n of nodes)
    if (n.nodeValue.trim() && !/^(SCRIPT|STYLE|NOSCRIPT)$/.test(n.parentElement.tagName))
      n.nodeValue = change(n.nodeValue);
  for (const e of document.querySelectorAll('input,textarea')) {
    if (e.placeholder) e.placeholder = change(e.placeholder);
    if (/^(text|email|search|url|tel|number|password|)$/.test(e.type || '') && e.value) e.value = change(e.value);
    if (/^(date|time|datetime-local|month|week|color)$/.test(e.type)) { e.type = 'text'; e.value = ''; }
  }
  for (const e of document.querySelectorAll('[aria-label],[title],[alt]'))
    for (const a of ['aria-label', 'title', 'alt']) if (e.hasAttribute(a)) e.removeAttribute(a);
}
"""
)

# family => elements whose font would come from the system get one of the packages' instead.
FONTS = """
family => {
  const ours = /Inter|Nunito|Open Sans|Roboto|JetBrains|Font Awesome|FontAwesome|bootstrap-icons|tabler/i;
  for (const e of document.body.querySelectorAll('*')) {
    const first = getComputedStyle(e).fontFamily.split(',')[0];
    if (ours.test(first)) continue;
    e.style.setProperty('font-family', /mono|courier|consol|menlo/i.test(getComputedStyle(e).fontFamily)
      ? 'JetBrains Mono' : family, 'important');
  }
}
"""

# () => what can be clicked: text, icon, box in CSS pixels; only what is wholly visible, unobscured and large enough.
PLACES = """
() => {
  const W = innerWidth, H = innerHeight;
  const shown = e => { const s = getComputedStyle(e); return s.visibility === 'visible' && s.display !== 'none'
    && +s.opacity > 0.3; };
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const clear = (e, b) => {
    const at = (fx, fy) => { const t = document.elementFromPoint(b[0] + (b[2] - b[0]) * fx, b[1] + (b[3] - b[1]) * fy);
      return t && (t === e || e.contains(t)); };
    return at(.5, .5) && at(.1, .5) && at(.9, .5) && at(.5, .15) && at(.5, .85);
  };
  const inside = b => b[0] >= 0 && b[1] >= 0 && b[2] <= W && b[3] <= H;
  const words = e => (e.innerText || '').replace(/\\s+/g, ' ').trim();
  const icon = e => {
    const i = e.matches('[class*="fa-"],[class*="bi-"],[data-icon]') ? e
      : e.querySelector('[class*="fa-"],[class*="bi-"],[data-icon]');
    if (!i || !shown(i)) return '';
    if (i.dataset.icon) return i.dataset.icon;
    const name = [...i.classList].map(c => c.match(/^(?:fa|bi)-([a-z-]+)$/)).filter(Boolean).map(m => m[1])
      .filter(n => !/^(fw|sm|lg|xs|spin|rotate|inverse|ul|li|\\d)/.test(n));
    return name[0] || '';
  };
  const out = [];
  let n = 0;
  const clickable = 'a,button,[role=button],[role=tab],summary,input,select,textarea,.btn,.nav-link,.dropdown-item';
  const seen = new Set();
  for (const e of document.querySelectorAll(clickable)) {
    if (seen.has(e) || !shown(e) || e.disabled) continue;
    if (e.parentElement.closest('a,button')) continue;
    const b = box(e);
    if (!inside(b) || b[2] - b[0] < 12 || b[3] - b[1] < 10 || !clear(e, b)) continue;
    const field = /^(INPUT|SELECT|TEXTAREA)$/.test(e.tagName);
    const tick = field && /^(checkbox|radio)$/.test(e.type);
    if (e.tagName === 'LABEL' || (field && /^(range|file|hidden|color)$/.test(e.type))) continue;
    const named = field && e.labels && e.labels.length ? words(e.labels[0]) : '';
    let text = field ? named : words(e);
    if (field && /^(submit|button)$/.test(e.type)) text = e.value;
    if (field && !text && e.placeholder && !e.value) text = e.placeholder;
    if (tick && named && e.labels.length === 1 && inside(box(e.labels[0]))) {
      const l = box(e.labels[0]);
      b[0] = Math.min(b[0], l[0]); b[1] = Math.min(b[1], l[1]);
      b[2] = Math.max(b[2], l[2]); b[3] = Math.max(b[3], l[3]);
    }
    e.dataset.vt = String(n);
    const clipped = !field && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible';
    out.push({id: n++, side: !!e.closest('aside,.sidebar'), text, icon: icon(e), box: b, clipped,
      field: field && !tick && !/^(submit|button)$/.test(e.type)});
    seen.add(e);
  }
  return out;
}
"""

# () => every piece of text that is in the viewport, so that a name can be refused that occurs twice.
TEXTS = """
() => {
  const out = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const n = walk.currentNode, e = n.parentElement;
    if (!n.nodeValue.trim() || /^(SCRIPT|STYLE|NOSCRIPT)$/.test(e.tagName)) continue;
    const r = document.createRange(); r.selectNodeContents(n);
    const b = r.getBoundingClientRect();
    if (b.width < 1 || b.bottom < 0 || b.right < 0 || b.top > innerHeight || b.left > innerWidth) continue;
    out.push(n.nodeValue.replace(/\\s+/g, ' ').trim());
  }
  for (const e of document.querySelectorAll('input,textarea,select')) {
    out.push(e.value || ''); out.push(e.placeholder || '');
  }
  return out.filter(Boolean);
}
"""

# () => values that are shown whole: tag, text, box.
FACTS = """
() => [...document.querySelectorAll('[data-value]')].map(e => {
  const r = e.getBoundingClientRect();
  const t = document.elementFromPoint((r.left + r.right) / 2, (r.top + r.bottom) / 2);
  return {key: e.dataset.value, text: (e.value === undefined || e.tagName === 'LI' ? e.innerText || e.textContent
      : e.value).replace(/\\s+/g, ' ').trim(),
    box: [r.left, r.top, r.right, r.bottom],
    shown: !!t && (t === e || e.contains(t) || t.contains(e)) && r.left >= 0 && r.top >= 0 && r.right <= innerWidth
      && r.bottom <= innerHeight && e.scrollWidth <= e.clientWidth + 1 || !!e.closest('svg') && r.top >= 0
      && r.bottom <= innerHeight && r.right <= innerWidth};
})
"""

# () => names of all pictures in the viewport, clickable or not.
PICTURES = """
() => [...document.querySelectorAll('[class*="fa-"],[class*="bi-"],[data-icon]')].filter(e => {
  const r = e.getBoundingClientRect();
  return r.width > 1 && r.bottom > 0 && r.right > 0 && r.top < innerHeight && r.left < innerWidth
    && getComputedStyle(e).visibility === 'visible';
}).map(e => e.dataset.icon || ([...e.classList].map(c => c.match(/^(?:fa|bi)-([a-z-]+)$/)).filter(Boolean)
  .map(m => m[1]).filter(n => !/^(fw|sm|lg|xs|spin|rotate|inverse|ul|li)$/.test(n))[0] || '')).filter(Boolean)
"""

# () => box of the element that a step acts on, null where it is not wholly visible.
TARGET = """
() => {
  const e = document.querySelector('[data-step="target"]');
  if (!e) return null;
  const r = e.getBoundingClientRect();
  const t = document.elementFromPoint((r.left + r.right) / 2, (r.top + r.bottom) / 2);
  const whole = r.left >= 0 && r.top >= 0 && r.right <= innerWidth && r.bottom <= innerHeight;
  return whole && t && (t === e || e.contains(t)) ? [r.left, r.top, r.right, r.bottom] : null;
}
"""
