"""The theme: Streamlit's options.

Neutral greys, so that images keep their apparent colours.
"""

from __future__ import annotations

_FONT = "Pretendard, 'Noto Sans KR', 'Noto Sans CJK KR', 'Apple SD Gothic Neo', 'Malgun Gothic', system-ui, sans-serif"
"""Those of the reader's machine: nothing is loaded from elsewhere."""

_LIGHT = {
    "primaryColor": "#4338ca",
    "backgroundColor": "#f7f7f8",
    "secondaryBackgroundColor": "#f1f1f3",
    "textColor": "#18181b",
    "borderColor": "#e0e0e4",
    "grayTextColor": "#52525b",
    "greenTextColor": "#166534",
}
_DARK = {
    "primaryColor": "#a5a8ff",
    "backgroundColor": "#18181b",
    "secondaryBackgroundColor": "#26262a",
    "textColor": "#f4f4f5",
    "borderColor": "#3a3a40",
    "grayTextColor": "#b4b4bd",
    "greenTextColor": "#86efac",
}

THEME: dict[str, str | int | bool] = {
    "theme.font": _FONT,
    "theme.headingFont": _FONT,
    "theme.baseFontSize": 15,
    "theme.headingFontSizes": '["1.7rem", "1.05rem", "1rem"]',
    "theme.headingFontWeights": "[700, 650, 650]",
    "theme.baseRadius": "10px",
    "theme.buttonRadius": "10px",
    "theme.showWidgetBorder": True,
    **{f"theme.light.{name}": value for name, value in _LIGHT.items()},
    **{f"theme.dark.{name}": value for name, value in _DARK.items()},
}
