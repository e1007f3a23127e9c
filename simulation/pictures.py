"""Small SVG pictures: the colour of the branch, a drawing for the leaf, the initials."""

import math
from xml.sax.saxutils import escape

from simulation.words import Leaf

# Drawings on a field of 120 x 120, in white on the colour of the branch; "{c}" is that colour.
GLYPHS = {
    "leaf": '<path d="M20 100C15 45 50 18 104 16 106 72 74 106 28 96z"/>'
    '<path d="M16 108C36 80 58 58 84 38" {line}/>',
    "flower": '<g>{petals}</g><circle cx="60" cy="60" r="15" fill="{c}"/>',
    "tool": '<path d="M18 14C44 30 60 48 70 66l-14 8C42 54 28 34 18 14z"/>'
    '<path d="M102 14C76 30 60 48 50 66l14 8C78 54 92 34 102 14z"/>'
    '<path d="M50 70 34 108M70 70l16 38" {white}/><circle cx="60" cy="62" r="6" fill="{c}"/>',
    "drop": '<path d="M60 10C82 44 96 60 96 78a36 34 0 0 1-72 0C24 60 38 44 60 10z"/>'
    '<path d="M42 78a18 18 0 0 0 18 18" {line}/>',
    "pot": '<path d="M26 62h68l-9 46H35z"/><path d="M20 48h80v14H20z"/>'
    '<path d="M60 48V22" {white}/><path d="M60 26C60 12 72 8 86 8 86 22 76 30 60 30z"/>'
    '<path d="M60 36C60 24 50 18 36 18 36 32 46 40 60 40z"/>',
    "pan": '<ellipse cx="46" cy="62" rx="38" ry="38"/>'
    '<circle cx="46" cy="62" r="27" fill="{c}" opacity=".45"/>'
    '<path d="M82 56h32a6 6 0 0 1 0 12H82z"/>',
    "knife": '<path d="M10 66C34 40 62 34 82 34v26C56 70 34 72 10 66z"/>'
    '<rect x="84" y="34" width="28" height="16" rx="7"/>',
    "cup": '<path d="M22 44h62v30a28 28 0 0 1-28 28h-6a28 28 0 0 1-28-28z"/>'
    '<path d="M84 52h8a12 12 0 0 1 0 24h-9" {white}/>'
    '<path d="M42 34c-6-10 6-12 0-22M62 34c-6-10 6-12 0-22" {white}/>',
    "jar": '<rect x="34" y="12" width="52" height="16" rx="4"/>'
    '<path d="M38 32h44c10 8 12 14 12 24v42a10 10 0 0 1-10 10H36a10 10 0 0 1-10-10V56c0-10 2-16'
    ' 12-24z"/><rect x="36" y="60" width="48" height="28" rx="3" fill="{c}" opacity=".5"/>',
    "lamp": '<path d="M40 14h40l22 46H18z"/><path d="M60 60v40" {white}/>'
    '<rect x="36" y="98" width="48" height="10" rx="5"/>',
    "candle": '<rect x="42" y="50" width="36" height="58" rx="4"/><path d="M60 50V38" {white}/>'
    '<path d="M60 8c12 14 14 20 14 26a14 14 0 0 1-28 0c0-6 2-12 14-26z"/>',
    "textile": '<rect x="20" y="14" width="80" height="74" rx="5"/><path d="M44 14v74M76 14v74'
    'M20 38h80M20 66h80" {line} opacity=".6"/><path d="M26 90v16M43 90v16M60 90v16M77 90v16'
    'M94 90v16" {white}/>',
    "box": '<path d="M16 44h88l-8 60H24z"/><path d="M38 44a22 26 0 0 1 44 0" {white}/>'
    '<path d="M20 62h80M22 80h76" {line}/>',
    "tent": '<path d="M60 18 112 102H8z"/><path d="M60 46 82 102H38z" fill="{c}" opacity=".6"/>',
    "pack": '<rect x="26" y="26" width="68" height="82" rx="20"/>'
    '<path d="M46 26v-4a14 14 0 0 1 28 0v4" {white}/>'
    '<rect x="38" y="64" width="44" height="30" rx="6" fill="{c}" opacity=".55"/>'
    '<path d="M38 48h44" {line}/>',
    "boot": '<path d="M34 14h32v42c12 8 38 8 40 30v8H34z"/><rect x="32" y="96" width="76"'
    ' height="11" rx="4"/><path d="M52 34h14M52 46h14" {line}/>',
    "wheel": '<circle cx="60" cy="60" r="44" fill="none" stroke="#fff" stroke-width="9"/>'
    '<path d="M60 18v84M18 60h84M30 30l60 60M90 30 30 90" stroke="#fff" stroke-width="3"/>'
    '<circle cx="60" cy="60" r="10"/>',
    "bone": '<rect x="30" y="50" width="60" height="20"/><circle cx="28" cy="46" r="15"/>'
    '<circle cx="28" cy="74" r="15"/><circle cx="92" cy="46" r="15"/>'
    '<circle cx="92" cy="74" r="15"/>',
    "paw": '<ellipse cx="60" cy="80" rx="28" ry="23"/><ellipse cx="24" cy="54" rx="11" ry="15"/>'
    '<ellipse cx="47" cy="34" rx="12" ry="17"/><ellipse cx="75" cy="34" rx="12" ry="17"/>'
    '<ellipse cx="96" cy="54" rx="11" ry="15"/>',
    "bird": '<path d="M12 66c18-4 24-34 52-34 10-14 30-10 34 4l14 6-14 8c0 34-24 46-46 46-22 0-34'
    '-14-40-30z"/><circle cx="86" cy="42" r="4" fill="{c}"/><path d="M40 66c16 12 30 6 36-6"'
    " {line}/>",
    "moon": '<path d="M78 14a48 48 0 1 0 28 62A40 40 0 0 1 78 14z"/>'
    '<circle cx="94" cy="30" r="4"/><circle cx="104" cy="50" r="3"/>',
    "cross": '<path d="M46 16h28v30h30v28H74v30H46V74H16V46h30z"/>',
}
WHITE = 'fill="none" stroke="#fff" stroke-width="8" stroke-linecap="round"'
PETALS = "".join(
    f'<circle cx="{60 + 30 * math.cos(a):.0f}" cy="{60 + 30 * math.sin(a):.0f}" r="19"/>'
    for a in (k * math.tau / 6 for k in range(6))
)


def draw_item(leaf: Leaf, title: str, *, article: bool, tint: float) -> str:
    """An SVG of 320 x 320; tint in 0–1 sets items of a category apart."""
    hue, light = round(leaf.branch.hue + 24 * (tint - 0.5)), 40 + round(14 * tint)
    colour = f"hsl({hue},42%,{light}%)"
    back = f"hsl({hue},45%,{88 if article else 93}%)"
    line = f'fill="none" stroke="{colour}" stroke-width="5" stroke-linecap="round"'
    glyph = GLYPHS[leaf.glyph].format(c=colour, line=line, white=WHITE, petals=PETALS)
    field = _page(colour) if article else f'<circle cx="160" cy="150" r="112" fill="{colour}"/>'
    place = "translate(102 58) scale(.97)" if article else "translate(88 78) scale(1.2)"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 320" role="img">'
        f"<title>{escape(title)}</title>"
        f'<rect width="320" height="320" fill="{back}"/>{field}'
        f'<g transform="{place}" fill="#fff">{glyph}</g>'
        f'<text x="306" y="309" text-anchor="end" font-family="Georgia,serif" font-size="22" '
        f'fill="{colour}">{escape(_initials(title))}</text></svg>\n'
    )


def _page(colour: str) -> str:
    """A sheet with a picture above some lines of text, for articles."""
    lines = "".join(
        f'<rect x="76" y="{y}" width="{width}" height="9" rx="4" fill="{colour}" opacity=".35"/>'
        for y, width in ((216, 168), (236, 168), (256, 104))
    )
    return (
        '<rect x="52" y="28" width="216" height="254" rx="10" fill="#fff"/>'
        f'<rect x="76" y="48" width="168" height="150" rx="6" fill="{colour}"/>{lines}'
    )


def _initials(title: str) -> str:
    """The first letters of the first three words."""
    return "".join(word[0] for word in title.split()[:3] if word[0].isalpha()).upper()
