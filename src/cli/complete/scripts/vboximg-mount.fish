# Completes the arguments of vboximg-mount in fish.
# From ~/.config/fish/config.fish: vboximg-mount --completions fish | source

function __vboximg_mount_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l program (string replace -r '^~(?=/)' -- $HOME $words[1])
    # The program that is being typed knows its own options. Status 3 asks for files of this host, 4 for directories.
    set -l found ($program --complete fish $words "$word" 2>/dev/null)
    set -l files $status
    if set -q found[1]
        printf '%s\n' $found
        return
    end
    set -l option (string match -r -- '^--[^=]+=' $word)
    set -l path (string replace -- "$option" '' $word)
    switch $files
        case 3
            complete -C "'' $path" | string replace -r '^' -- "$option"
        case 4
            __fish_complete_directories $path | string replace -r '^' -- "$option"
    end
end

complete -c vboximg-mount -f -k -a '(__vboximg_mount_complete)'
