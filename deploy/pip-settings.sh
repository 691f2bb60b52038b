# Sourced by what runs uv: the index and the certificates that pip is configured for serve it too.
# What the environment says wins.
pip_setting() { .tools/bin/python -m pip config get "global.$1" 2>/dev/null || :; }
if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
  index=${PIP_INDEX_URL:-$(pip_setting index-url)}
  if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
fi
if [ -z "${SSL_CERT_FILE:-}" ]; then
  bundle=${PIP_CERT:-$(pip_setting cert)}
  if [ -n "$bundle" ]; then export SSL_CERT_FILE="$bundle"; fi
fi
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
