"""The command line's Korean texts, by the English text.

A test finds missing and unused texts.
"""

from __future__ import annotations

HELP: dict[str, str] = {
    "Usage": "사용법",
    "Arguments": "인자",
    "Options": "옵션",
    "Commands": "명령",
    "Mask": "마스크",
    "Extending": "이미지 확장",
    "Server": "서버",
    "required": "필수",
    "default": "기본값",
    "variable": "환경 변수",
    "One of": "선택:",
    "to": "~",
    "Show this message and exit.": "이 도움말을 보여 줍니다.",
    "Show the version and exit.": "버전을 보여 줍니다.",
    "Language of help and messages. [default: ko if LANG is Korean, else en]": (
        "도움말과 메시지의 언어. [기본값: LANG이 한국어이면 ko, 아니면 en]"
    ),
    "Install completion for the current shell.": "현재 셸에 자동 완성을 설치합니다.",
    "Show completion for the current shell, to copy it or customize the installation.": (
        "현재 셸의 자동 완성 스크립트를 출력합니다. 직접 설치할 때 씁니다."
    ),
    "Image editing with BEN2, FLUX.1-Fill and Qwen-Image-Edit. Start the services with `imgedit up`, then edit with "
    "`imgedit edit`; `imgedit experiments` lists what there is.": (
        "BEN2, FLUX.1-Fill, Qwen-Image-Edit로 이미지를 편집합니다. `imgedit up`으로 서비스를 시작한 뒤 "
        "`imgedit edit`으로 편집하세요. 할 수 있는 편집은 `imgedit experiments`가 보여 줍니다."
    ),
    "Exit codes:\n\n"
    "  0    done, or all is well\n"
    "  1    refused or failed: change the request, the file or the setting that the message names\n"
    "  2    an option or argument is wrong\n"
    "  3    batch: some pictures failed, others are done\n"
    "  4    nothing is wrong with the request: no server answers, it is full, or time ran out\n"
    "  130  ended by Ctrl-C": (
        "종료 코드:\n\n"
        "  0    성공, 이상 없음\n"
        "  1    거부 또는 실패: 메시지가 가리키는 요청, 파일, 설정을 고치세요\n"
        "  2    옵션이나 인자가 잘못됨\n"
        "  3    batch: 일부 이미지만 실패하고 나머지는 완료\n"
        "  4    요청에는 문제 없음: 서버가 응답하지 않거나 가득 찼거나 시간 초과\n"
        "  130  Ctrl-C로 종료"
    ),
    "Run all services on this machine until Ctrl-C.\n\n"
    "`imgedit status` shows the services, and `imgedit stop` ends them from another terminal. SIGHUP reloads the\n"
    "orchestrator's catalogue; if the terminal has closed, it ends everything.": (
        "이 컴퓨터에서 모든 서비스를 실행합니다. Ctrl-C로 끝냅니다.\n\n"
        "`imgedit status`는 실행 상태를 보여 주고, `imgedit stop`은 다른 터미널에서 서비스를 끝냅니다. SIGHUP을 받으면 "
        "orchestrator가 카탈로그를 다시 읽고, 터미널이 닫혔다면 모두 종료합니다."
    ),
    "Folder that holds BEN2, FLUX.1-Fill-dev and Qwen-Image-Edit-2509. Without it, each `path` of the catalogue named "
    "by IMGEDIT_ORCHESTRATOR_EXPERIMENTS, else a checkout's small demo checkpoints, which know drawn scenes only.": (
        "BEN2, FLUX.1-Fill-dev, Qwen-Image-Edit-2509가 있는 폴더. 생략하면 IMGEDIT_ORCHESTRATOR_EXPERIMENTS가 가리키는 "
        "카탈로그의 `path`를 쓰고, 그것도 없으면 저장소의 작은 데모 모델을 씁니다. "
        "데모 모델은 그림으로 된 장면만 다룹니다."
    ),
    "Port of the orchestrator; the model services take the next three.": (
        "orchestrator의 포트. 모델 서비스는 그다음 세 포트를 씁니다."
    ),
    "First of four ports for /metrics. [default: 9101, or base port + 100]": (
        "/metrics에 쓸 네 포트 중 첫 번째. [기본값: 9101 또는 base port + 100]"
    ),
    "Maximum pixels sent to a model. [default: 1048576; 65536 with the demo's checkpoints]": (
        "모델에 보내는 최대 픽셀 수. [기본값: 1048576, 데모 모델은 65536]"
    ),
    "Replicas of a service, balanced by Envoy, such as fill=2. Repeatable.": (
        "한 서비스를 여러 개 실행하고 Envoy로 나눕니다. 예: fill=2. 서비스마다 지정할 수 있습니다."
    ),
    "Also run the edge (Envoy: REST, gRPC, OpenAI's image API) on --gateway-port.": (
        "게이트웨이(Envoy: REST, gRPC, OpenAI 이미지 API)도 --gateway-port에서 실행합니다."
    ),
    "Port of the edge; the next one is OpenAI's API behind it.": (
        "게이트웨이의 포트. 그다음 포트는 게이트웨이 뒤의 OpenAI API가 씁니다."
    ),
    "Also run the web page on --studio-port.": "웹 페이지도 --studio-port에서 실행합니다.",
    "Port of the page.": "웹 페이지의 포트.",
    "File of API tokens, made by `imgedit tokens new`; callers then need a token. [default: none]": (
        "`imgedit tokens new`로 만든 API 토큰 파일. 지정하면 호출할 때 토큰이 필요합니다. [기본값: 없음]"
    ),
    "Folder for the services' logs. Each is kept to 5 files of 20 MiB.": (
        "서비스 로그를 둘 폴더. 로그마다 20 MiB 파일 5개까지 보관합니다."
    ),
    "Return when all services serve; they run on until `imgedit stop`.": (
        "모든 서비스가 준비되면 터미널로 돌아옵니다. 서비스는 `imgedit stop`까지 계속 실행됩니다."
    ),
    "Edit one picture.\n\n"
    "`imgedit experiments` lists the experiments, with ranges and defaults. The picture itself is never "
    "overwritten, any\nother existing file only after a question or with --force.": (
        "이미지 한 장을 편집합니다.\n\n"
        "실험과 값의 범위, 기본값은 `imgedit experiments`가 보여 줍니다. 원본 이미지는 절대 덮어쓰지 않고, 다른 파일은 "
        "물어본 뒤나 --force를 줄 때만 덮어씁니다."
    ),
    "The picture: PNG, JPEG or WebP. - is standard input.": "편집할 이미지(PNG, JPEG, WebP). -는 표준 입력입니다.",
    "Result file; its ending chooses the format. - is standard output. [default: NAME.edited.png, or the next free "
    "NAME.edited-2.png …; for -, standard output]": (
        "결과 파일. 확장자가 형식을 정합니다. -는 표준 출력입니다. [기본값: NAME.edited.png, 이미 있으면 "
        "NAME.edited-2.png …, 입력이 -이면 표준 출력]"
    ),
    "Results to make, with one seed after the other; the second is OUTPUT-2.": (
        "만들 결과의 수. 시드는 하나씩 커지고, 두 번째 파일은 OUTPUT-2입니다."
    ),
    "Format of a result on standard output. [default: png]": "표준 출력으로 보낼 결과의 형식. [기본값: png]",
    "Quality of a JPEG (default 95) or WebP (default lossless), 1 to 100.": (
        "JPEG(기본 95) 또는 WebP(기본 무손실)의 품질, 1~100."
    ),
    "Also write the subject without background here (PNG).": "배경을 제거한 이미지도 이 파일에 씁니다(PNG).",
    "Also write the composite's mask alpha here (PNG).": "합성에 쓴 마스크도 이 파일에 씁니다(PNG).",
    "Overwrite existing files without a question.": "이미 있는 파일을 묻지 않고 덮어씁니다.",
    "Only print how long the edit would take; edit nothing.": "편집하지 않고 예상 시간만 보여 줍니다.",
    "Longest wait, in seconds.": "최대 대기 시간(초).",
    "Print one JSON object: what was made and used, or the error.": (
        "결과와 사용된 값 또는 오류를 JSON 객체 하나로 출력합니다."
    ),
    "No progress bar.": "진행 표시줄을 그리지 않습니다.",
    "Id of the experiment.": "실험의 ID.",
    "What to do. Required unless the feature has a default prompt.": (
        "편집할 내용. 기능에 정해진 프롬프트가 없으면 필요합니다."
    ),
    "Id of the feature. [default: the experiment's first]": "기능의 ID. [기본값: 실험의 첫 번째 기능]",
    "Have a language model expand the prompt first.": "언어 모델이 프롬프트를 먼저 구체적으로 다듬습니다.",
    "What to avoid.": "피하고 싶은 내용.",
    "Weight of the negative prompt (FLUX).": "부정 프롬프트의 세기(FLUX).",
    "Denoise steps, 10 to 50.": "스텝 수, 10~50.",
    "How strongly the prompt is followed, 1 to 15.": "프롬프트를 따르는 정도, 1~15.",
    "How much the picture may change, 0.0 to 1.0.": "원본에서 바뀌는 정도, 0.0~1.0.",
    "The same seed gives the same picture.": "시드가 같으면 결과도 같습니다.",
    "Speed against quality. [default: balanced]": "속도와 품질의 균형. [기본값: balanced]",
    "A LoRA of the server, and its strength (default 1); may be given three times.": (
        "서버의 LoRA와 세기(기본값 1). 세 개까지 쓸 수 있습니다."
    ),
    "Treatment of the area around the subject (Qwen). [default: the feature's]": (
        "피사체 주변을 처리하는 방법(Qwen). [기본값: 기능에 따름]"
    ),
    "Match the painted region's tone to its surroundings.": "다시 그린 영역의 색조를 주변에 맞춥니다.",
    "A reference picture; may be given twice.": "참조 이미지. 두 번까지 지정할 수 있습니다.",
    "What to repaint, white, at the picture's size. [default: found by BEN2]": (
        "다시 그릴 곳이 흰색인, 원본과 같은 크기의 이미지. [기본값: BEN2가 찾음]"
    ),
    "Which part of BEN2's mask to repaint. [default: the feature's]": "BEN2 마스크에서 쓸 부분. [기본값: 기능에 따름]",
    "Swap white and black.": "흰색과 검은색을 바꿉니다.",
    "The level between 0 and 1 that becomes one half; a lower one selects more.": (
        "마스크로 볼 기준값(0과 1 사이). 낮을수록 넓어집니다."
    ),
    "Fill holes that the mask encloses.": "마스크 안쪽 구멍을 채웁니다.",
    "Grow the mask by so many pixels.": "마스크를 넓힐 픽셀 수.",
    "Soften the mask's edge over so many pixels, inward.": "마스크 가장자리를 안쪽으로 부드럽게 할 픽셀 수.",
    "Pixels to add at the left.": "왼쪽에 더할 픽셀 수.",
    "Pixels to add at the right.": "오른쪽에 더할 픽셀 수.",
    "Pixels to add at the top.": "위쪽에 더할 픽셀 수.",
    "Pixels to add at the bottom.": "아래쪽에 더할 픽셀 수.",
    "Extend to this aspect, for instance 16:9.": "이 비율로 확장합니다. 예: 16:9.",
    "Address of the server, HOST:PORT: its orchestrator or its edge.": (
        "서버 주소(HOST:PORT). orchestrator나 게이트웨이의 주소입니다."
    ),
    "File that holds the API token; or set the variable IMGEDIT_TOKEN to the token.": (
        "API 토큰이 들어 있는 파일. 환경 변수 IMGEDIT_TOKEN에 토큰을 넣어도 됩니다."
    ),
    "Use TLS, trusting the public authorities.": "공인 인증 기관을 신뢰하는 TLS를 씁니다.",
    "Use TLS, trusting the authorities of this PEM file.": "이 PEM 파일의 인증 기관을 신뢰하는 TLS를 씁니다.",
    "PEM file of the certificate to show.": "제시할 클라이언트 인증서의 PEM 파일.",
    "PEM file of that certificate's key.": "그 인증서의 키가 있는 PEM 파일.",
    "Reach the server through the proxy that https_proxy or http_proxy names, or never. [default: the proxy, except "
    "for servers on this machine or in its cluster]": (
        "https_proxy나 http_proxy의 프록시를 거쳐 접속하거나 전혀 쓰지 않습니다. [기본값: 서버가 이 컴퓨터나 같은 "
        "클러스터에 있으면 쓰지 않음]"
    ),
    "Edit every image of a folder with the same options.\n\n"
    "Finished images are recorded in imgedit-batch.jsonl beside the results. The same command again, after "
    "Ctrl-C or a\nfailure, edits only missing or changed images. Other existing files are overwritten only "
    "after a question or with\n--force, inputs never.\n\n"
    "Exit code 0: all images are done; 3: some failed; 1: all failed, or the command is wrong; 4: none is "
    "done, because\nno server responds or has capacity; 130: ended by Ctrl-C.": (
        "폴더의 모든 이미지를 같은 방법으로 편집합니다.\n\n"
        "끝난 작업은 결과 옆의 imgedit-batch.jsonl에 기록됩니다. Ctrl-C나 오류 뒤에 같은 명령을 다시 실행하면 "
        "빠졌거나 바뀐 이미지만 편집합니다. 다른 파일은 물어본 뒤나 --force를 줄 때만 덮어쓰고, 입력 파일은 절대 "
        "덮어쓰지 않습니다.\n\n"
        "종료 코드 0: 모두 완료, 3: 일부 실패, 1: 모두 실패하거나 명령이 잘못됨, 4: 서버가 응답하지 않거나 "
        "가득 차서 모두 실패, 130: Ctrl-C로 종료."
    ),
    "Folder of PNG, JPEG and WebP files.": "PNG, JPEG, WebP 파일이 있는 폴더.",
    "Folder for the results.": "결과를 둘 폴더.",
    "Folder with a mask for each picture, of the same name.": "이미지마다 같은 이름의 마스크가 있는 폴더.",
    "CSV file with the columns picture and prompt, optionally negative_prompt and seed.": (
        "picture, prompt 열과 필요하면 negative_prompt, seed 열이 있는 CSV 파일."
    ),
    "Include subfolders.": "하위 폴더도 포함합니다.",
    "File format of the results.": "결과 파일의 형식.",
    "Pictures to edit in parallel.": "동시에 편집할 이미지 수.",
    "Longest wait per picture, in seconds.": "이미지 한 장의 최대 대기 시간(초).",
    "Print the summary as one JSON object.": "요약을 JSON 객체 하나로 출력합니다.",
    "List the experiments and their features, and whether they are available.\n\n"
    "With ID, list the options of each feature.": (
        "실험과 기능, 지금 쓸 수 있는지를 보여 줍니다.\n\nID를 주면 기능마다 쓸 수 있는 옵션을 보여 줍니다."
    ),
    "Id of one experiment, to see the options of its features.": "기능별 옵션을 볼 실험의 ID.",
    "Id of one feature, to see its options alone.": "이 기능의 옵션만 봅니다.",
    "Print one JSON object, as the REST API does.": "REST API와 같은 JSON 객체 하나를 출력합니다.",
    "Check that the server and all services of its experiments are serving.\n\n"
    "Exit code 0: all do; 4: not all. `imgedit status` shows the processes of a stack on this machine.": (
        "서버와 실험에 필요한 모든 서비스가 준비되었는지 보여 줍니다.\n\n"
        "종료 코드 0: 모두 준비됨, 4: 아님. 이 컴퓨터에서 실행 중인 프로세스는 `imgedit status`가 보여 줍니다."
    ),
    "Seconds to wait for all services to serve.": "모든 서비스가 준비될 때까지 기다릴 시간(초).",
    "Print one JSON object.": "JSON 객체 하나를 출력합니다.",
    "Show the stacks on this machine: their services, addresses and logs.\n\n"
    "Exit code 0: a stack runs and everything in it serves; 4: otherwise.": (
        "`imgedit up`이 이 컴퓨터에서 실행 중인 서비스와 주소, 로그 위치를 보여 줍니다.\n\n"
        "종료 코드 0: 실행 중이고 모두 준비됨, 4: 아님."
    ),
    "Port of the orchestrator of one stack. [default: every stack of this user]": (
        "대상의 orchestrator 포트. [기본값: 이 사용자가 실행한 모두]"
    ),
    "End a stack on this machine, started from any terminal.\n\n"
    "Running edits get a few seconds.\n\n"
    "Exit code 0: it has ended, or none ran.": (
        "`imgedit up`으로 실행한 서비스를 종료합니다. 어느 터미널에서 시작했든 상관없습니다.\n\n"
        "진행 중인 편집은 몇 초 동안 기다립니다.\n\n"
        "종료 코드 0: 종료했거나 실행 중인 것이 없음."
    ),
    "Check Python, packages, devices, memory, disk, ports, weights and licences.\n\n"
    "Prints advice for each finding. Exit code 0: no FAIL; 1: a FAIL.": (
        "이 컴퓨터의 Python, 패키지, 장치, 메모리, 디스크, 포트, 모델, 라이선스를 살피고 할 일을 알려 줍니다.\n\n"
        "종료 코드 0: WARN과 NOTE 말고는 문제 없음, 1: 문제 있음(FAIL)."
    ),
    "Folder that holds BEN2, FLUX.1-Fill-dev and Qwen-Image-Edit-2509.": (
        "BEN2, FLUX.1-Fill-dev, Qwen-Image-Edit-2509가 있는 폴더."
    ),
    "Port of the orchestrator, as for `imgedit up`.": "`imgedit up`에 준 것과 같은 orchestrator 포트.",
    "Show how a result was made.\n\nWith --replay make it again and compare the two.": (
        "결과가 어떻게 만들어졌는지 보여 줍니다.\n\n--replay를 주면 다시 만들어 둘을 비교합니다."
    ),
    "A result: PNG, JPEG or WebP.": "결과 파일(PNG, JPEG, WebP).",
    "Make the same edit again, from this picture, which must be the one that was edited.": (
        "편집했던 바로 그 원본으로 같은 편집을 다시 합니다."
    ),
    "The mask of the edit, for --replay.": "--replay에 쓸, 그 편집의 마스크.",
    "A reference of the edit, for --replay.": "--replay에 쓸, 그 편집의 참조 이미지.",
    "The prompt, for --replay of a file that leaves it out.": "파일에 프롬프트가 없을 때 --replay에 쓸 프롬프트.",
    "Result of --replay. [default: NAME.replay.SUFFIX, or the next free NAME.replay-2.SUFFIX …]": (
        "--replay의 결과. [기본값: NAME.replay.확장자, 이미 있으면 NAME.replay-2.확장자 …]"
    ),
    "Download, verify and convert weights.": "모델을 내려받고, 검사하고, 변환합니다.",
    "Convert weights: GGUF to safetensors and back, or BEN2's .pth to safetensors.\n\n"
    "The source is checked against the model before it is read, and refused when it is not exactly that model. "
    "Nothing\nis written over, and a result appears whole or not at all. The licence of the weights stays what it "
    "was.": (
        "모델 파일을 변환합니다. GGUF와 safetensors 사이, 또는 BEN2의 .pth에서 safetensors로 바꿉니다.\n\n"
        "원본이 정확히 그 모델인지 먼저 확인하고 아니면 거부합니다. 아무것도 덮어쓰지 않으며, 결과는 "
        "온전히 만들어지거나 아예 만들어지지 않습니다. 모델의 라이선스는 그대로입니다."
    ),
    "FILE.gguf, a transformer's folder of safetensors, or FILE.pth.": (
        "FILE.gguf, safetensors가 있는 transformer 폴더, 또는 FILE.pth."
    ),
    "In this order: a folder, FILE.gguf, or FILE.safetensors.": "같은 순서로 폴더, FILE.gguf, FILE.safetensors.",
    "Number format of the result. [default: BF16 to safetensors, Q8_0 to GGUF]": (
        "결과의 숫자 형식. [기본값: safetensors는 BF16, GGUF는 Q8_0]"
    ),
    "Folder with the transformer's config.json. [default: the folder that is converted]": (
        "transformer의 config.json이 있는 폴더. [기본값: 변환할 폴더]"
    ),
    "Digest that the source file must have. [default: that of registry.lock, if any]": (
        "원본 파일의 SHA-256 값. [기본값: registry.lock에 있으면 그 값]"
    ),
    "List the models and their licences; with --models also the downloaded files.": (
        "모델과 라이선스를 보여 줍니다. --models를 주면 그 폴더에 있는 것도 보여 줍니다."
    ),
    "Make model folders from ComfyUI's weights files.\n\n"
    "Nothing is downloaded or converted. Files are identified by their tensors. Configurations are written; "
    "tokenizers\nare copied from ComfyUI's own code. Exit code 0: each model of which a file was found is "
    "complete; 1: otherwise.": (
        "ComfyUI에 있는 가중치 파일로 모델 폴더를 만듭니다.\n\n"
        "내려받거나 변환하지 않습니다. 파일이 어느 모델인지는 텐서로 알아냅니다. 설정은 새로 쓰고 토크나이저는 "
        "ComfyUI의 코드에서 복사합니다. 종료 코드 0: 파일을 하나라도 찾은 모델이 모두 온전함, 1: 아님."
    ),
    "The models folder of ComfyUI, or any folder with such files.": (
        "ComfyUI의 models 폴더, 또는 그런 파일이 있는 폴더."
    ),
    "Folder that will hold the model folders.": "모델 폴더를 만들 폴더.",
    "Copy the weights instead of linking to them.": "가중치를 링크하지 않고 복사합니다.",
    "Say what would be done, and do nothing.": "할 일만 알려 주고 아무것도 하지 않습니다.",
    "Take this file where several fit; may be given for each. [default: the largest]": (
        "맞는 파일이 여럿일 때 이 파일을 씁니다. 모델마다 지정할 수 있습니다. [기본값: 가장 큰 파일]"
    ),
    "Only configurations and vocabularies, for weights that are elsewhere.": (
        "가중치가 다른 곳에 있을 때 설정과 어휘 파일만 받습니다."
    ),
    "Also show what is there.": "이 폴더에 무엇이 있는지도 보여 줍니다.",
    "Download models from the Hugging Face hub; interrupted downloads resume.\n\n"
    "Only weights, configurations and vocabularies, never code. DIR/models.lock records the commit and the checksums.\n"
    "The access token for gated models is read from HF_TOKEN; it goes to the public hub alone.": (
        "Hugging Face에서 모델을 내려받습니다. 끊긴 다운로드는 이어받습니다.\n\n"
        "가중치, 설정, 어휘 파일만 받고 코드는 받지 않습니다. 커밋과 체크섬은 DIR/models.lock에 기록됩니다. "
        "접근 승인이 필요한 모델의 토큰은 HF_TOKEN에서 읽고 공식 Hugging Face에만 보냅니다."
    ),
    "Models to download. all: the three that the services use by default.": (
        "모델 이름. all은 서비스가 기본으로 쓰는 세 모델입니다."
    ),
    "Folder that holds, or will hold, BEN2, FLUX.1-Fill-dev and Qwen-Image-Edit-2509.": (
        "BEN2, FLUX.1-Fill-dev, Qwen-Image-Edit-2509가 있거나 받을 폴더."
    ),
    "Download from this repository, OWNER/NAME.": "이 저장소에서 받습니다(OWNER/NAME).",
    "Branch, tag or commit of the repository.": "저장소의 브랜치, 태그 또는 커밋.",
    "flux-fill: take the transformer's weights from this GGUF file of --gguf-repo instead.": (
        "flux-fill: transformer의 가중치를 --gguf-repo의 이 GGUF 파일로 대신합니다."
    ),
    "Repository of the GGUF file, OWNER/NAME.": "GGUF 파일의 저장소(OWNER/NAME).",
    "Branch, tag or commit of --gguf-repo.": "--gguf-repo의 브랜치, 태그 또는 커밋.",
    "Address of the hub.": "허브의 주소.",
    "Send the access token to --endpoint, even if that is not https://huggingface.co.": (
        "--endpoint가 https://huggingface.co가 아니어도 토큰을 보냅니다."
    ),
    "Compare the files with DIR/models.lock, offline.\n\nExit code 0: all files are unchanged; 1: otherwise.": (
        "네트워크 없이 파일을 DIR/models.lock과 비교합니다.\n\n종료 코드 0: 모두 그대로임, 1: 아님."
    ),
    "Check the experiment catalogue before it is used; make experiments.": (
        "실험 카탈로그를 쓰기 전에 검사하고, 실험을 만듭니다."
    ),
    "The workflow, saved in API format (JSON).": "API 형식(JSON)으로 저장한 워크플로우.",
    "Id of the experiment: a to z, digits and _. [default: from the file's name]": (
        "실험의 ID: a~z, 숫자, _. [기본값: 파일 이름에서 정함]"
    ),
    "Id of the SaveImage with the result, where several save pictures.": (
        "SaveImage가 여럿일 때 결과를 저장하는 노드의 ID."
    ),
    "Write a new file here. [default: print the YAML]": "이 파일에 새로 씁니다. [기본값: YAML을 출력]",
    "First edit a sample with the model services that run (`imgedit up`).": (
        "먼저 실행 중인 모델 서비스(`imgedit up`)로 샘플을 편집해 봅니다."
    ),
    "The sample. [default: a scene of the demo, in a checkout]": "샘플 이미지. [기본값: 저장소의 데모 장면]",
    "Also write the edited sample here (PNG).": "편집한 샘플도 이 파일에 씁니다(PNG).",
    "--base-port of the running stack.": "실행 중인 서비스의 --base-port.",
    "Longest wait for the sample, in seconds.": "샘플 편집의 최대 대기 시간(초).",
    "Turn a ComfyUI workflow into an experiment.\n\n"
    "The experiment is printed as YAML, with a comment per decision. Save the workflow in API format: "
    '"Workflow > Export\n(API)", in older versions "Save (API Format)". The graph is read backwards from its '
    "SaveImage. Nodes become stages.\nTheir values (steps, cfg, guidance, denoise, seed, prompts, a LoRA) "
    "become the feature's defaults, and ranges are\nwidened where necessary. An unsupported node or value is "
    "rejected with node, field, value and range, and nothing is\nwritten.\n\n"
    "Example: imgedit catalogue import workflow_api.json --id my_gym --out my_gym.yaml --check\nThen: "
    "IMGEDIT_ORCHESTRATOR_EXPERIMENTS=my_gym.yaml imgedit up, and imgedit edit PHOTO --experiment my_gym\n\n"
    "Exit code 0: done; 1: rejected, or the sample failed; 4: --check lacks a service that it needs.": (
        "ComfyUI 워크플로우를 실험으로 바꿉니다.\n\n"
        "실험은 결정마다 주석을 단 YAML로 출력합니다. "
        '워크플로우는 API 형식으로 저장하세요: "Workflow > Export (API)", 이전 버전에서는 "Save (API Format)". '
        "그래프는 SaveImage부터 거꾸로 읽습니다. 노드는 단계가 되고, 노드에 정해진 값(steps, cfg, guidance, denoise, "
        "seed, 프롬프트, LoRA)은 기능의 기본값이 되며, 범위는 필요한 만큼 넓힙니다. 지원하지 않는 노드나 값은 노드, "
        "필드, 값, 범위를 밝히며 거부하고, 그때는 아무것도 쓰지 않습니다.\n\n"
        "예: imgedit catalogue import workflow_api.json --id my_gym --out my_gym.yaml --check\n"
        "다음: IMGEDIT_ORCHESTRATOR_EXPERIMENTS=my_gym.yaml imgedit up, 그리고 imgedit edit PHOTO --experiment my_gym"
        "\n\n"
        "종료 코드 0: 성공, 1: 거부되었거나 샘플 편집이 실패, 4: --check에 필요한 서비스가 없음."
    ),
    "Check catalogue files as the orchestrator does.\n\n"
    "Prints every fault with its line and field.\n\n"
    "Exit code 0: no fault; 1: a fault.": (
        "orchestrator와 똑같이 카탈로그 파일을 검사합니다.\n\n모든 오류를 줄과 항목 이름으로 알려 줍니다.\n\n"
        "종료 코드 0: 오류 없음, 1: 오류 있음."
    ),
    "Catalogue files (YAML).": "카탈로그 파일(YAML).",
    "Print the JSON Schema of a catalogue file, for YAML editors.": (
        "카탈로그 파일의 JSON Schema를 출력합니다. YAML을 자동 완성하고 검사하는 편집기에 씁니다."
    ),
    "Make the tokens by which callers of the public API are known.": "공개 API를 부를 때 쓰는 토큰을 만듭니다.",
    "Make a token.\n\nIt is printed once and kept nowhere; servers are given the line with its hash.\n\n"
    "The first line of the output is the token. Without --append the second one is the line for the file of tokens.": (
        "토큰을 만듭니다.\n\n토큰은 한 번만 출력되고 어디에도 저장되지 않으며, 서버에는 해시가 담긴 줄만 줍니다.\n\n"
        "출력의 첫 줄이 토큰입니다. --append가 없으면 둘째 줄이 토큰 파일에 넣을 줄입니다."
    ),
    "The caller's name, shown in the logs.": "사용자 이름. 로그에 남습니다.",
    "edit, list or admin; may be given several times.": "edit, list, admin 중 하나. 여러 번 지정할 수 있습니다.",
    "Add the line to this file of tokens, which is made where it is not there.": (
        "토큰 파일에 줄을 덧붙입니다. 파일이 없으면 만듭니다."
    ),
}
"""Of usage lines, descriptions, options and groups."""

MESSAGES: dict[str, str] = {
    "this command needs code of the servers, and only the client is installed here; run it in a checkout "
    "(git clone, then make install) or in a container image of the project": (
        "이 명령에는 서버의 코드가 필요한데 여기에는 클라이언트만 설치되어 있습니다. "
        "체크아웃(git clone 후 make install)이나 프로젝트의 컨테이너 이미지에서 실행하세요"
    ),
    "{path} is an input of this command, which is never written over; name another file": (
        "{path}은(는) 이 명령의 입력 파일이라 덮어쓰지 않습니다. 다른 파일을 지정하세요"
    ),
    "--out must be another folder: results would take the place of pictures": (
        "--out에는 다른 폴더를 지정하세요. 결과가 원본을 덮어쓰게 됩니다"
    ),
    "; --recursive takes those below, too": ". 하위 폴더까지 포함하려면 --recursive를 쓰세요",
    "{folder} holds no PNG, JPEG or WebP file": "{folder} 폴더에 PNG, JPEG, WebP 파일이 없습니다",
    "{path} is a folder, and a file is needed": "{path}은(는) 폴더입니다. 파일을 지정하세요",
    "there is no file {path}": "{path} 파일이 없습니다",
    "there is no folder {path}": "{path} 폴더가 없습니다",
    "{path} is a folder; `{hint} DIR` edits every picture in it": (
        "{path}은(는) 폴더입니다. 폴더의 모든 이미지를 편집하려면 `{hint} DIR`을 쓰세요"
    ),
    "cannot write {path}: the name must end in {endings}": (
        "{path}에 쓸 수 없습니다. 파일 이름은 {endings} 중 하나로 끝나야 합니다"
    ),
    "--output, --cutout and --mask-output must be different files": (
        "--output, --cutout, --mask-output에는 서로 다른 파일을 지정하세요"
    ),
    "cannot write {path}: cut-out and mask are PNG files, so the name must end in .png": (
        "{path}에 쓸 수 없습니다. 배경을 제거한 이미지와 마스크는 PNG이므로 이름이 .png로 끝나야 합니다"
    ),
    "`imgedit experiments ID` shows the options of each feature, for instance {id}": (
        "기능별 옵션은 `imgedit experiments ID`로 볼 수 있습니다. 예: {id}"
    ),
    "not available now: {services} not serving": "지금은 쓸 수 없습니다: {services} 서비스가 응답하지 않습니다",
    "for example: {prompt}": "예: {prompt}",
    "LoRAs: {names}": "쓸 수 있는 LoRA: {names}",
    " (not available now)": " (지금은 쓸 수 없음)",
    "required": "필수",
    "default {value}": "기본값 {value}",
    "recommended {value}": "권장 {value}",
    "{min}–{max} characters": "{min}–{max}자",
    "a file": "파일",
    "with {options}": "함께 쓰는 옵션: {options}",
    "{min}–{max} files": "파일 {min}–{max}개",
    "Every feature of this experiment also takes:": "이 실험의 모든 기능이 함께 받는 옵션:",
    "{services} not serving": "{services} 서비스가 응답하지 않습니다",
    "; its DigitalSourceType is {source}": " (DigitalSourceType: {source})",
    "{path} holds no record of an edit": "{path}에는 편집 기록이 없습니다",
    "{path} is there already": "{path} 파일이 이미 있습니다",
    "{path} and {more} more are there already": "{path} 외 {more}개 파일이 이미 있습니다",
    "standard input is a terminal; write a picture to it, or name a file": (
        "표준 입력이 터미널입니다. 이미지를 표준 입력으로 보내거나 파일을 지정하세요"
    ),
    "not known yet: the server has done no such edit since its start": (
        "아직 모릅니다. 서버가 시작한 뒤로 이런 편집을 한 적이 없습니다"
    ),
    "about {seconds:.1f} s": "약 {seconds:.1f}초",
    "; jobs ahead of it: {jobs}": ", 앞에 기다리는 작업 {jobs}개",
    "no picture came from standard input": "표준 입력으로 들어온 이미지가 없습니다",
    "more than {most} MiB came from standard input": "표준 입력이 {most} MiB를 넘습니다",
    "a picture is not written to a terminal; name a file by -o, or send the output on": (
        "이미지를 터미널에 출력하지 않습니다. -o로 파일을 지정하거나 출력을 다른 곳으로 보내세요"
    ),
    "nothing was written": "아무것도 쓰지 않았습니다",
    "cannot write {what}": "쓸 수 없습니다: {what}",
    "; --force writes over it, or name another by --output or --out": (
        ". --force를 주면 덮어씁니다. 아니면 --output이나 --out으로 다른 곳을 지정하세요"
    ),
    ". Write over it?": ". 덮어쓸까요?",
    "{state}: process {pid} since {since}": "{state}: 프로세스 {pid}, 시작 {since}",
    "stopping …": "종료하는 중 …",
    "stopped": "종료했습니다",
    "ready": "준비됨",
    "starting": "시작하는 중",
    "several stacks run; choose one by --base-port: {ports}": (
        "여러 개가 실행 중입니다. --base-port로 하나를 고르세요: {ports}"
    ),
    "nothing runs here": "실행 중인 것이 없습니다",
    "the stack with process {pid} does not end; its logs are in {logs}": (
        "프로세스 {pid}이(가) 끝나지 않습니다. 로그는 {logs}에 있습니다"
    ),
    "  logs: {logs}": "  로그: {logs}",
    "nothing runs here; `imgedit up` starts the services": (
        "실행 중인 것이 없습니다. `imgedit up`으로 서비스를 시작하세요"
    ),
    "models as the catalogue says: {listed}": "카탈로그에 적힌 모델을 씁니다: {listed}",
    "running in the background; `imgedit status` shows it, `imgedit stop` ends it": (
        "백그라운드에서 실행 중입니다. 상태는 `imgedit status`로 보고, `imgedit stop`으로 끝냅니다"
    ),
    "end with Ctrl-C": "Ctrl-C로 끝냅니다",
    "no --models given, and the demo's checkpoints are not here: run from a checkout, or pass --models DIR": (
        "--models가 없고 데모 모델도 여기에 없습니다. 저장소에서 실행하거나 --models DIR을 지정하세요"
    ),
}
"""Of messages, with the same places for values."""
