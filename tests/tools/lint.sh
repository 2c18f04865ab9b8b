#!/usr/bin/env bash
# lint.sh: yamllint, ansible-lint with the production profile, shellcheck.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part lint

shell_scripts() {
    # by name or by the first line: .ci/run has no extension
    git ls-files -z --cached --others --exclude-standard -- . ':!.ansible' |
        while IFS= read -r -d '' file; do
            [ -f "$file" ] || continue
            case $file in
                *.j2) continue ;;
                *.sh) printf '%s\0' "$file" ;;
                *) if head -n 1 "$file" | grep -aqE '^#!.*\b(ba|da)?sh\b'; then printf '%s\0' "$file"; fi ;;
            esac
        done
}

run_shellcheck() {
    mapfile -d '' scripts < <(shell_scripts)
    echo "${#scripts[@]} scripts"
    shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
}

step yamllint yamllint --strict . || true
step "ansible-lint, production profile" ansible-lint --offline --nocolor --profile production || true
step shellcheck run_shellcheck || true
end_part
