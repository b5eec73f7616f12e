#!/bin/sh
# Sees to a browser for the tests of pages: `make browser` and .ci/run call it. Where there is one
# nothing is asked of the network. Where there is none it is Debian's, if this user may install it,
# else the one that Playwright brings into the user's cache.
#
#   deploy/browser.sh PYTHON
set -u
python=$1
starts="from tests.fixtures.browser import browser
with browser() as started: print('browser:', started.version)"

for name in chromium chromium-browser google-chrome chrome; do
    command -v "$name" >/dev/null && exit 0
done
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { timeout 120 apt-get update -qq &&
        timeout 600 apt-get install -y -qq --no-install-recommends chromium; } >"$log" 2>&1
fi
command -v chromium >/dev/null || timeout 600 "$python" -m playwright install chromium >>"$log" 2>&1
"$python" -c "$starts" 2>>"$log" && exit 0
cat "$log" >&2
echo "no browser could be installed, and the tests of pages need one: install chromium, so that" \
    "\`chromium\` is on the PATH" >&2
exit 1
