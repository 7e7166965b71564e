# The main job as a whole.
# shellcheck shell=bash
tests=(demo)

prepare() { :; }

demo() {
  local row
  PGRUNBOOK_DEMO_NAMESPACE=e2e-demo tests/demo >"$work/demo.out" 2>&1 || fail "tests/demo failed: $(grep -a '^FAIL' "$work/demo.out" | head -n 1) ($work/demo.out)"
  for row in '| before the loss |' '| at the target, on the standby |' '| through the Service after the cutover |' '| last id acknowledged to the application since |' '| cutover, with approval |'; do
    holds build/demo/transcript.md "$(cat build/demo/transcript.md)" "$row"
  done
}
