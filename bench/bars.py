"""A plot as SVG: what each served a second, as bars beside each other, with the highest and the lowest round."""

from html import escape

from bench.figures import Figure

WIDTH, LEFT, RIGHT, BAR, GAP = 900, 300, 90, 16, 6
COLOURS = {"ES256": "#1f77b4", "RS256": "#d62728"}
OTHER = "#7f7f7f"


def written(title: str, figures: list[Figure], measure: str = "per_second") -> str:
    """What they did of one kind together, the fastest first."""
    kinds = list(dict.fromkeys(figure.what for figure in figures))
    ordered = sorted(figures, key=lambda figure: (kinds.index(figure.what), -figure.median(measure)))
    most = max(max(figure.rounds[measure]) for figure in ordered)
    height = 40 + len(ordered) * (BAR + GAP)
    box = f'viewBox="0 0 {WIDTH} {height}" font-size="12" font-family="sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    scale = (WIDTH - LEFT - RIGHT) / most
    for row, figure in enumerate(ordered):
        y, value = 34 + row * (BAR + GAP), figure.median(measure)
        low, high = (LEFT + each * scale for each in (min(figure.rounds[measure]), max(figure.rounds[measure])))
        middle, base = y + BAR / 2, y + BAR - 4
        label = f"{figure.name}, {figure.what}" if figure.what else figure.name
        colour = COLOURS.get(figure.what, OTHER)
        parts += [
            f'<text x="{LEFT - 8}" y="{base}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<line x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" stroke="black"/>',
            f'<text x="{high + 6:.1f}" y="{base}">{value:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
