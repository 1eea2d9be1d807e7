"""What the diffusion services share: the engine (which job runs next), the networks and their weights, streaming.

No model of its own: what belongs to one of them lives in services.fill or services.qwen_edit.
"""
