"""A file in the shape of auto-coder's example with a fallback, which SECTION stands for."""

FALLBACK_EXAMPLE = """
    [backend]
    default = "codex"
    order = ["codex", "gemini", "qwen", "claude", "auggie"]
    [backends.codex]
    model = "gpt-5.1-codex-max"
    options = ["--model", "[model_name]", "--json", "--dangerously-bypass-approvals-and-sandbox",
      "--search"]
    options_for_noedit = ["--model", "[model_name]", "--json", "--sandbox", "read-only", "--search"]
    [backends.gemini]
    model = "gemini-2.5-pro"
    options = ["--model", "[model_name]", "--output-format", "stream-json", "--yolo", "--prompt"]
    options_for_noedit = ["--model", "[model_name]", "--output-format", "stream-json", "--prompt"]
    options_for_resume = ["--resume", "latest"]
    [backends.qwen]
    model = "qwen3-coder-plus"
    options = ["-y", "-m", "[model_name]", "--output-format", "stream-json", "--yolo", "-p"]
    options_for_noedit = ["-y", "-m", "[model_name]", "--output-format", "stream-json", "-p"]
    [backends.claude]
    model = "sonnet"
    options = ["--print", "--model", "[model_name]", "--output-format", "stream-json", "--verbose",
      "--dangerously-skip-permissions", "--allow-dangerously-skip-permissions"]
    options_for_noedit = ["--print", "--model", "[model_name]", "--output-format", "stream-json",
      "--verbose"]
    options_for_resume = ["--resume", "[sessionId]"]
    [backends.auggie]
    model = "GPT-5"
    options = ["--model", "[model_name]", "--print"]
    [backends.MiniMax-M2]
    model = "MiniMax-M2"
    backend_type = "claude"
    settings = "/home/user/minimax/settings.json"
    options = ["--print", "--model", "[model_name]", "--settings", "[settings]",
      "--dangerously-skip-permissions"]
    [backends.qwen-openrouter]
    model = "qwen/qwen3-coder:free"
    openai_api_key = "sk-or"
    backend_type = "codex"
    model_provider = "openrouter"
    options = ["--model", "[model_name]", "-c", "model_provider=[model_provider]", "--json",
      "--dangerously-bypass-approvals-and-sandbox"]
    [backends.claude-custom]
    enabled = false
    model = "opus"
    backend_type = "claude"
    settings = "/path/settings.json"
    [backend_for_noedit]
    order = ["claude", "gemini", "codex"]
    default = "claude"
    [SECTION]
    name = "gemini-fallback"
    enabled = true
    model = "gemini-2.5-flash"
    api_key = "k"
    backend_type = "gemini"
    options = ["--model", "[model_name]", "--output-format", "stream-json", "--yolo", "--prompt"]
    temperature = 0.2
    timeout = 120
    usage_limit_retry_count = 3
    usage_limit_retry_wait_seconds = 30
    usage_markers = ["fallback", "high_availability"]
    always_switch_after_execution = false
    """
