"""The guide's prompts with their expected English translations."""

from __future__ import annotations

TRANSLATIONS = {
    "배경을 현대적인 체육관으로 변경": "Change the background to a modern gym",
    "파란색 운동복을 빨간색으로 변경": "Change the blue sportswear to red",
    "손에 아령 추가": "Add a dumbbell in the hand",
    "왼쪽에 운동 기구 추가": "Add exercise equipment on the left",
    "운동복을 파란색에서 빨간색으로 변경": "Change the sportswear from blue to red",
    "손에 물병 추가": "Add a water bottle in the hand",
    "안경 제거": "Remove the glasses",
    "배경을 야외 공원으로 변경": "Change the background to an outdoor park",
    "티셔츠의 'GYM'을 'FITNESS'로 변경": "Change 'GYM' on the T-shirt to 'FITNESS'",
    "참조 이미지의 스타일로 변경": "Change it to the style of the reference image",
    "배경 변경": "Change the background",
    "배경을 밝은 현대적인 체육관으로 변경, 운동 기구 포함": (
        "Change the background to a bright modern gym, with exercise equipment"
    ),
    "색상 변경": "Change the colour",
    "운동복의 상의를 파란색에서 빨간색으로 변경": "Change the top of the sportswear from blue to red",
    "예쁘게": "Make it pretty",
    "전문적이고 깔끔한 스타일, 밝은 조명": "Professional and clean style, bright lighting",
    "안경을 전체적인 색상으로 제거": "Remove the glasses in the overall colour",
    "운동복을 빨간색으로 변경": "Change the sportswear to red",
    "오른쪽에 운동 기구 추가": "Add exercise equipment on the right",
    "흐릿함, 낮은 품질, 왜곡, 못생김, 변형": "blurry, low quality, distorted, ugly, deformed",
    "흐릿함, 여분의 손가락, 이상한 손": "blurry, extra fingers, bad hands",
    "背景をモダンなジムに変更": "Change the background to a modern gym",
    "把背景换成现代健身房": "Change the background to a modern gym",
}
"""Every Korean prompt of the guide, a few like them, and one each in Japanese and Chinese."""

EXPANSIONS = {
    "배경 변경": "Change the background to a bright modern gym with steel equipment, soft daylight",
    "색상 변경": "Change the cotton top from blue to deep red, clean studio style",
    "예쁘게": "A professional and clean style, bright and soft lighting",
    "티셔츠의 'GYM'을 'FITNESS'로 변경": "Change 'GYM' on the cotton T-shirt to 'FITNESS' in bold white letters",
    "a gym": "A bright modern gym with steel equipment, wooden floor, soft daylight",
    "change the background": "Change the background to a bright modern gym with steel equipment, soft daylight",
    "make it pretty": "A professional and clean style, bright and soft lighting",
}
"""The guide's vague prompts and their improved forms, in Korean and in English."""
