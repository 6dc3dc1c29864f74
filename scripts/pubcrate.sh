#!/bin/bash
# Makes everything `pub(crate)` that the library's face does not show, and keeps it so: the lint is on afterwards. Needs a
# clean work tree, since it changes many files; what it cannot mend (dead code that becomes visible) clippy reports.
#
# usage: scripts/pubcrate.sh
set -euo pipefail
cd "$(dirname "$0")/.."
[ -z "$(git status --porcelain --untracked-files=no)" ] || { echo "Commit first" >&2; exit 1; }

sed -i '/^# scripts\/pubcrate.sh turns it on/d; s/^unreachable_pub = "allow"/unreachable_pub = "warn"/' Cargo.toml
# Each turn makes items unreachable that others showed; `pub use` of what is `pub(crate)` is an error until it is one too.
for _ in 1 2 3 4 5; do
  before=$(git diff | sha256sum)
  cargo clippy --fix --allow-dirty --locked --quiet --lib --tests 2> /dev/null || true
  [ "$before" != "$(git diff | sha256sum)" ] || break
done
cargo fmt --all
cargo clippy --all-targets --locked -- -D warnings
RUSTFLAGS="--cfg fuzzing" cargo check --locked --target-dir target/fuzzing -p vboximg-mount-fuzz --no-default-features --bins
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --no-deps --document-private-items --locked
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
git diff --stat | tail -1
