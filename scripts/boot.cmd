# SPDX-License-Identifier: MIT OR Apache-2.0
# Starts Xenolith by U-Boot (docs/juno.md). What differs from board to board is in xenolith.env, beside this script.
# From a disk U-Boot says which one; otherwise all files come by TFTP, which U-Boot's own tries of the network name, too.
if test -n "${devtype}" && test "${devtype}" != dhcp && test "${devtype}" != pxe; then
    setenv xl_get 'load ${devtype} ${devnum}:${distro_bootpart} ${xl_at} ${prefix}${xl_file}'
else
    setenv xl_get 'tftpboot ${xl_at} ${xl_file}'
fi
setenv xl_at ${kernel_addr_r}
setenv xl_file xenolith.env
run xl_get || exit
env import -t ${xl_at} ${filesize} xl_ram xl_dtb xl_kernel xl_initrd xl_args dom0_args

# Far enough apart for each to be 100 MiB.
setexpr xl_image ${xl_ram} + 200000
setexpr xl_fdt ${xl_ram} + 8000000
setexpr xl_kernel_at ${xl_ram} + a000000
setexpr xl_initrd_at ${xl_ram} + 14000000

setenv xl_at ${xl_kernel_at}
setenv xl_file ${xl_kernel}
run xl_get || exit
setenv xl_kernel_size ${filesize}
setenv xl_at ${xl_initrd_at}
setenv xl_file ${xl_initrd}
run xl_get || exit
setenv xl_initrd_size ${filesize}
setenv xl_at ${xl_image}
setenv xl_file xenolith.img
run xl_get || exit
setenv xl_at ${xl_fdt}
setenv xl_file ${xl_dtb}
run xl_get || exit

fdt addr ${xl_fdt}
fdt resize 2000
fdt set /chosen '#address-cells' <1>
fdt set /chosen '#size-cells' <1>
fdt set /chosen xen,xen-bootargs "${xl_args}"
fdt mknode /chosen module@${xl_kernel_at}
fdt set /chosen/module@${xl_kernel_at} compatible "multiboot,kernel" "multiboot,module"
fdt set /chosen/module@${xl_kernel_at} reg <0x${xl_kernel_at} 0x${xl_kernel_size}>
fdt set /chosen/module@${xl_kernel_at} bootargs "${dom0_args}"
fdt mknode /chosen module@${xl_initrd_at}
fdt set /chosen/module@${xl_initrd_at} compatible "multiboot,ramdisk" "multiboot,module"
fdt set /chosen/module@${xl_initrd_at} reg <0x${xl_initrd_at} 0x${xl_initrd_size}>
# U-Boot would put it where a dom0's command line is looked for.
setenv bootargs
booti ${xl_image} - ${xl_fdt}
