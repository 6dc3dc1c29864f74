# mount -o loop[,OPTIONS] IMAGE DIRECTORY, with a device that no other process can take between two steps: losetup tries
# again when it loses one. It goes back when it is unmounted.
mount() {
  case "$1 ${2-}" in
    "-o loop" | "-o loop,"*) ;;
    *) command mount "$@"; return ;;
  esac
  local options=${2#loop} access= device
  options=${options#,}
  case ",$options," in *,ro,*) access=--read-only ;; esac
  device=$(losetup --find --show $access -- "$3") || return
  if command mount ${options:+-o "$options"} "$device" "$4"; then
    losetup --detach "$device"
  else
    losetup --detach "$device"
    return 1
  fi
}
