"""The looks of the page: Streamlit's theme options. Greys without a tint, so that no picture looks other than it is."""

from __future__ import annotations

_FONT = "Pretendard, 'Noto Sans KR', 'Noto Sans CJK KR', 'Apple SD Gothic Neo', 'Malgun Gothic', system-ui, sans-serif"
"""Those of the reader's machine: nothing is loaded from elsewhere."""

THEME: dict[str, str | int | bool] = {
    "theme.font": _FONT,
    "theme.headingFont": _FONT,
    "theme.baseFontSize": 15,
    "theme.baseRadius": "10px",
    "theme.buttonRadius": "10px",
    "theme.showWidgetBorder": True,
    "theme.light.primaryColor": "#4338ca",
    "theme.light.backgroundColor": "#fbfbfb",
    "theme.light.secondaryBackgroundColor": "#f1f1f2",
    "theme.light.textColor": "#18181b",
    "theme.light.borderColor": "#dcdce0",
    "theme.light.grayTextColor": "#52525b",
    "theme.light.greenTextColor": "#166534",
    "theme.light.greenBackgroundColor": "#dcfce7",
    "theme.dark.primaryColor": "#8b8bf5",
    "theme.dark.backgroundColor": "#161618",
    "theme.dark.secondaryBackgroundColor": "#222225",
    "theme.dark.textColor": "#f4f4f5",
    "theme.dark.borderColor": "#3a3a40",
    "theme.dark.grayTextColor": "#b4b4bd",
    "theme.dark.greenTextColor": "#86efac",
    "theme.dark.greenBackgroundColor": "#14381f",
}
