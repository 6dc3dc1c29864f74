# Completes the arguments of vboximg-mount in bash 4.4 or newer.
# From ~/.bashrc: source <(vboximg-mount --completions bash)

_vboximg_mount() {
    local found files
    # The program that is being typed knows its own options. Status 3 asks for files of this host, 4 for directories.
    found=$("${1/#\~/$HOME}" --complete bash "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    files=$?
    COMPREPLY=()
    if [[ -n $found ]]; then
        mapfile -t COMPREPLY <<<"$found"
        if [[ ${#COMPREPLY[@]} -eq 1 && $found == *[/=] ]]; then
            compopt -o nospace
        fi
        # Lists show the last names of paths. What is offered is quoted already.
        if [[ ${COMPREPLY[0]} == */?* ]]; then
            compopt -o filenames -o noquote
        fi
    elif [[ $files -eq 3 ]]; then
        compopt -o bashdefault -o default
    elif [[ $files -eq 4 ]]; then
        compopt -o dirnames
    fi
}

complete -o nosort -F _vboximg_mount vboximg-mount
