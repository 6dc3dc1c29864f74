"""Makes an animated SVG of screens that tmux captured with their colours (capture-pane -p -e).

usage: frames-to-svg.py NUMBER-SECONDS...    the names of the files say how long each is shown
"""

import html
import re
import sys
import unicodedata

WIDTH, HEIGHT, MARGIN = 8.4, 17, 12
BACKGROUND, FOREGROUND = "#1d2021", "#d5c4a1"
COLORS = ["#1d2021", "#fb4934", "#b8bb26", "#fabd2f", "#83a598", "#d3869b", "#8ec07c", "#d5c4a1"]
BRIGHT = ["#7c6f64", "#fb4934", "#b8bb26", "#fabd2f", "#83a598", "#d3869b", "#8ec07c", "#fbf1c7"]


class Style:
    def __init__(self):
        self.color, self.bold, self.reverse, self.underline = None, False, False, False

    def apply(self, codes):
        codes = [int(code or 0) for code in codes.split(";")]
        while codes:
            code = codes.pop(0)
            if code == 38 and codes[:1] == [5]:
                self.color = (COLORS + BRIGHT)[codes[1]]
                codes = codes[2:]
            elif code == 0:
                self.__init__()
            elif code in (1, 4, 7):
                setattr(self, {1: "bold", 4: "underline", 7: "reverse"}[code], True)
            elif code in (22, 24, 27):
                setattr(self, {22: "bold", 24: "underline", 27: "reverse"}[code], False)
            elif 30 <= code <= 37:
                self.color = COLORS[code - 30]
            elif 90 <= code <= 97:
                self.color = BRIGHT[code - 90]
            elif code == 39:
                self.color = None


def columns(text):
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def line(text, y, out):
    style, x = Style(), 0
    for part in re.split(r"(\x1b\[[0-9;]*m)", text):
        if part.startswith("\x1b"):
            style.apply(part[2:-1])
            continue
        part = re.sub(r"\x1b[()].|[\x0e\x0f]", "", part)
        if not part:
            continue
        at, width = MARGIN + x * WIDTH, columns(part) * WIDTH
        color = style.color or FOREGROUND
        if style.reverse:
            out.append(f'<rect x="{at:.1f}" y="{y - 13}" width="{width:.1f}" height="{HEIGHT}" fill="{color}"/>')
            color = BACKGROUND
        x += columns(part)
        if not part.strip():
            continue
        look = ' font-weight="bold"' if style.bold else ""
        look += ' text-decoration="underline"' if style.underline else ""
        fill = "" if color == FOREGROUND else f' fill="{color}"'
        # The length keeps columns straight whatever the font.
        out.append(f'<text x="{at:.1f}" y="{y}" textLength="{width:.1f}"{fill}{look}>{html.escape(part)}</text>')


def main(names):
    frames = [(open(name, encoding="utf-8").read().split("\n"), float(name.rsplit("-", 1)[1])) for name in names]
    rows = max(len(lines) for lines, _ in frames) - 1
    wide = max(columns(re.sub(r"\x1b\[[0-9;]*m", "", text)) for lines, _ in frames for text in lines)
    width, height = 2 * MARGIN + max(wide, 100) * WIDTH, 2 * MARGIN + rows * HEIGHT
    total, start = sum(seconds for _, seconds in frames), 0.0
    out, rules = [], []
    for number, (lines, seconds) in enumerate(frames):
        begin, end = 100 * start / total, 100 * (start + seconds) / total
        start += seconds
        rules.append(
            f"@keyframes f{number} {{ 0% {{ visibility: {'visible' if number == 0 else 'hidden'} }} "
            f"{begin:.3f}% {{ visibility: visible }} {end:.3f}% {{ visibility: hidden }} 100% {{ visibility: hidden }} }} "
            f"#f{number} {{ visibility: hidden; animation: f{number} {total:g}s step-end infinite }}"
        )
        out.append(f'<g id="f{number}">')
        for at, text in enumerate(lines[:rows]):
            line(text, MARGIN + 13 + at * HEIGHT, out)
        out.append("</g>")
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-size="14" fill="{FOREGROUND}" '
        "font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" xml:space=\"preserve\">\n"
        "<title>A session of vboximg-mount browse</title>\n<style>text { white-space: pre }\n"
        + "\n".join(rules)
        + f'</style>\n<rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>\n'
        + "\n".join(out)
        + "\n</svg>"
    )


main(sys.argv[1:])
