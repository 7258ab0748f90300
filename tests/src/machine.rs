// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is booted: a hypervisor and its payload on a QEMU `virt` machine. Both hypervisors get the same command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::error::{Failure, Result, fail};
use crate::initramfs;
use crate::juno::Juno;
use crate::rootfs;
use crate::workspace::target;

/// Which hypervisor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// Ours, `target/xenolith.img`, or the file that the variable `XENOLITH_IMAGE` names.
    Xenolith,
    /// Debian's Xen 4.20: the reference.
    Xen,
}

impl Hypervisor {
    /// From the environment variable `HV`; Xenolith when it is unset.
    ///
    /// # Errors
    /// On any other word than `xenolith` and `xen`.
    pub fn from_environment() -> Result<Self> {
        match std::env::var("HV").as_deref() {
            Err(_) | Ok("" | "xenolith") => Ok(Self::Xenolith),
            Ok("xen") => Ok(Self::Xen),
            Ok(other) => fail(format!("HV={other}: want xenolith or xen")),
        }
    }

    /// What a boot loader is given.
    ///
    /// # Errors
    /// When it was not built or fetched yet.
    pub fn image(self) -> Result<PathBuf> {
        let path = match self {
            Self::Xenolith => match std::env::var_os("XENOLITH_IMAGE") {
                Some(path) => PathBuf::from(path),
                None => target("xenolith.img"),
            },
            Self::Xen => debian::boot_file("xen", "xen-4")?,
        };
        if path.exists() {
            return Ok(path);
        }
        fail(format!(
            "{} is missing: `make build` makes it",
            path.display()
        ))
    }
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xenolith => "xenolith",
            Self::Xen => "xen",
        })
    }
}

/// A Debian kernel for dom0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Debian 12's Linux 6.1.
    V6_1,
    /// Debian 13's Linux 6.12.
    V6_12,
}

impl Kernel {
    /// Its role in `debian.lock`.
    #[must_use]
    pub fn role(self) -> &'static str {
        match self {
            Self::V6_1 => "linux-6.1",
            Self::V6_12 => "linux-6.12",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.role().trim_start_matches("linux-"))
    }
}

/// A CPU model of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// Armv8.0, 40-bit physical addresses.
    A53,
    /// Armv8.0, 44-bit physical addresses.
    A72,
    /// Every feature QEMU knows: SVE, VHE, pointer authentication, 52-bit addresses.
    Max,
}

impl Cpu {
    fn model(self) -> &'static str {
        match self {
            Self::A53 => "cortex-a53",
            Self::A72 => "cortex-a72",
            // The architected pointer authentication is many times slower to emulate and proves nothing more.
            Self::Max => "max,pauth-impdef=on",
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A53 => "a53",
            Self::A72 => "a72",
            Self::Max => "max",
        })
    }
}

/// Version of the interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gic {
    /// GICv2; at most 8 CPUs.
    V2,
    /// GICv3.
    V3,
}

impl fmt::Display for Gic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "gic2",
            Self::V3 => "gic3",
        })
    }
}

/// What the boot loader puts beside the hypervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// No module at all.
    Nothing,
    /// A Debian kernel with the test initramfs.
    Linux(Kernel),
    /// Debian's Linux 6.12 with the initramfs that holds the toolstack.
    Toolstack,
    /// Debian's Linux 6.12 with Debian's Xen tools on a disk, whose changes are forgotten.
    Tools,
    /// Another image, without ramdisk.
    Image(PathBuf),
}

/// How the hypervisor is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// By QEMU's boot loader.
    Loader,
    /// By an image that QEMU's boot loader starts in its place.
    Program {
        /// That image.
        image: PathBuf,
        /// Where the hypervisor's image lies.
        address: u32,
    },
    /// By this boot loader, which QEMU starts out of reset at EL2 and which finds everything by itself.
    Firmware(PathBuf),
    /// Out of reset, at the highest exception level and with all registers zero. QEMU's device tree is at
    /// [`RAM`], and there is no command line.
    Reset {
        /// Where the hypervisor's image lies.
        address: u32,
        /// Where the first CPU starts.
        start: u32,
    },
}

/// What kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// QEMU's `virt`.
    Virt,
    /// A model of Arm's Juno, which has its own interrupt controller and CPUs.
    Juno(Juno),
}

/// A machine with everything on it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The hypervisor.
    pub hypervisor: Hypervisor,
    /// What kind of machine it is.
    pub board: Board,
    /// How it is entered.
    pub entry: Entry,
    /// dom0's kernel.
    pub payload: Payload,
    /// Interrupt controller.
    pub gic: Gic,
    /// CPU model.
    pub cpu: Cpu,
    /// Number of CPUs.
    pub cpus: u32,
    /// RAM in MiB.
    pub ram_mib: u32,
    /// Memory of dom0 in MiB.
    pub dom0_mib: u32,
    /// Whether CPUs start in EL2.
    pub el2: bool,
    /// Whether a reset starts the machine again; otherwise QEMU ends.
    pub reboots: bool,
    /// More words for the hypervisor's command line.
    pub hypervisor_args: String,
    /// More words for dom0's command line.
    pub dom0_args: String,
    /// More arguments of QEMU: devices, `-icount`.
    pub qemu_args: Vec<String>,
}

/// Where the machine's RAM starts.
pub const RAM: u32 = 0x4000_0000;

/// Addresses of dom0's modules. The hypervisor is at 0x4020_0000 and QEMU's device tree at 0x4800_0000, the largest
/// kernel here takes 37 MiB; all lies below the device tree so that the rest of even 1 GiB is in one piece.
const KERNEL_ADDRESS: u32 = 0x4200_0000;
const INITRD_ADDRESS: u32 = 0x4580_0000;

impl Machine {
    /// Linux 6.12 on one Cortex-A72 with GICv3 and 1 GiB.
    #[must_use]
    pub fn new(hypervisor: Hypervisor) -> Self {
        Self {
            hypervisor,
            board: Board::Virt,
            entry: Entry::Loader,
            payload: Payload::Linux(Kernel::V6_12),
            gic: Gic::V3,
            cpu: Cpu::A72,
            cpus: 1,
            ram_mib: 1024,
            dom0_mib: 512,
            el2: true,
            reboots: false,
            hypervisor_args: String::new(),
            dom0_args: String::new(),
            qemu_args: Vec::new(),
        }
    }

    /// Adds one argument of QEMU with its value, for instance `-device`, `nvme`.
    pub fn attach(&mut self, option: &str, value: &str) {
        self.qemu_args.extend([option.to_owned(), value.to_owned()]);
    }

    /// The QEMU command, but for what is connected to its console.
    ///
    /// # Errors
    /// When an image is missing.
    pub fn command(&self) -> Result<Command> {
        let mut qemu = match self.board {
            Board::Virt => self.virt(),
            Board::Juno(juno) => juno.command()?,
        };
        qemu.args(["-smp", &self.cpus.to_string()])
            .args(["-m", &self.ram_mib.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        qemu.args(["-accel", self.accelerator()]);
        if !self.reboots {
            qemu.arg("-no-reboot");
        }
        self.add_hypervisor(&mut qemu)?;
        self.add_payload(&mut qemu)?;
        qemu.args(&self.qemu_args);
        Ok(qemu)
    }

    fn virt(&self) -> Command {
        let el2 = if self.el2 { "on" } else { "off" };
        let version = match self.gic {
            Gic::V2 => 2,
            Gic::V3 => 3,
        };
        let mut qemu = Command::new("qemu-system-aarch64");
        qemu.arg("-machine")
            .arg(format!("virt,gic-version={version},virtualization={el2}"));
        qemu.args(["-cpu", self.cpu.model()]);
        qemu
    }

    /// Where dom0's kernel and ramdisk go.
    fn module_addresses(&self) -> (u32, u32) {
        match self.board {
            Board::Virt => (KERNEL_ADDRESS, INITRD_ADDRESS),
            Board::Juno(_) => (Juno::KERNEL_ADDRESS, Juno::INITRD_ADDRESS),
        }
    }

    /// CPUs that run in parallel find more races, but when the host has fewer, those that wait for a lock keep the one
    /// that holds it from running: then QEMU runs them in turn, ten times as fast.
    fn accelerator(&self) -> &'static str {
        let host = std::thread::available_parallelism().map_or(1, usize::from);
        // The suite has two CPUs busy at most, and one waits for the other.
        let is_suite = matches!(self.payload, Payload::Image(_)) && self.board != Board::Virt;
        if is_suite {
            "tcg"
        } else if usize::try_from(self.cpus).is_ok_and(|cpus| cpus > host) {
            "tcg,thread=single"
        } else {
            "tcg"
        }
    }

    pub(crate) fn hypervisor_command_line(&self) -> String {
        // Scrubbing free memory is slow under emulation and not what is tested.
        format!(
            "dom0_mem={}M bootscrub=0 {}",
            self.dom0_mib, self.hypervisor_args
        )
    }

    fn add_hypervisor(&self, qemu: &mut Command) -> Result<()> {
        let own = self.hypervisor.image()?;
        let (kernel, address) = match &self.entry {
            Entry::Loader => (Some(&own), None),
            Entry::Program { image, address } => (Some(image), Some(address)),
            Entry::Reset { address, .. } => (None, Some(address)),
            Entry::Firmware(loader) => {
                qemu.arg("-bios").arg(loader);
                return Ok(());
            }
        };
        if let Some(kernel) = kernel {
            qemu.arg("-kernel").arg(kernel);
            qemu.arg("-append").arg(self.hypervisor_command_line());
        }
        if let Some(address) = address {
            qemu.args(["-device", &raw_loader(&own, *address)?]);
        }
        if let Entry::Reset { start, .. } = self.entry {
            qemu.args(["-device", &format!("loader,addr={start:#x},cpu-num=0")]);
        }
        Ok(())
    }

    fn add_payload(&self, qemu: &mut Command) -> Result<()> {
        let (kernel_address, initrd_address) = self.module_addresses();
        let mut load = |address: u32, kind: &str, file: &Path, bootargs: &str| {
            let file = quoted(file)?;
            let mut device = format!("guest-loader,addr={address:#x},{kind}={file}");
            if kind == "kernel" {
                let bootargs = bootargs.replace(',', ",,");
                device.push_str(&format!(",bootargs={bootargs}"));
            }
            qemu.args(["-device", &device]);
            Ok::<(), Failure>(())
        };
        let mut linux = |kernel: Kernel, initrd: &Path, more: &str| {
            let image = debian::boot_file(kernel.role(), "vmlinuz-")?;
            let bootargs = format!("console=hvc0 rdinit=/init {more}{}", self.dom0_args);
            load(kernel_address, "kernel", &image, &bootargs)?;
            load(initrd_address, "initrd", initrd, "")
        };
        match &self.payload {
            Payload::Nothing => Ok(()),
            Payload::Image(image) => load(kernel_address, "kernel", image, &self.dom0_args),
            Payload::Linux(kernel) => linux(*kernel, &initramfs::path(*kernel)?, ""),
            Payload::Toolstack => linux(initramfs::PV_KERNEL, &initramfs::with_toolstack()?, ""),
            Payload::Tools => {
                let kernel = initramfs::PV_KERNEL;
                linux(kernel, &initramfs::path(kernel)?, "root=/dev/vda ")?;
                let file = quoted(&rootfs::image()?)?;
                let drive = format!("if=none,id=root,format=raw,snapshot=on,file={file}");
                qemu.args(["-drive", &drive]);
                qemu.args(["-device", "virtio-blk-pci,romfile=,drive=root"]);
                Ok(())
            }
        }
    }
}

/// The `-device` that puts a file's bytes at `address`.
///
/// # Errors
/// When the path is not UTF-8.
pub fn raw_loader(file: &Path, address: u32) -> Result<String> {
    let file = quoted(file)?;
    Ok(format!("loader,file={file},addr={address:#x},force-raw=on"))
}

/// A path in an option of QEMU's, which reads a doubled comma as a comma.
fn quoted(file: &Path) -> Result<String> {
    match file.to_str() {
        Some(text) => Ok(text.replace(',', ",,")),
        None => fail(format!("{}: the path is not UTF-8", file.display())),
    }
}
