// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPU pools: which CPUs serve which domains. Each has a run queue of its own.
//!
//! The first pool, 0, has CPU 0 always. To be changed by one at a time, who also creates and
//! destroys domains ([`Domains::manage`](crate::system::Domains::manage)).

use super::place::ticks;
use super::state::bit;
use super::{DEFAULT_WEIGHT, NO_QUEUE, Scheduler};
use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;
use crate::hw::Hw;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use xen_abi::errno::Errno;
use xen_abi::sysctl::{XEN_SYSCTL_SCHED_RATELIMIT_MAX, XEN_SYSCTL_SCHED_RATELIMIT_MIN};

/// How long a vCPU runs before one that has run less may take its CPU, in microseconds: credit2's.
pub const DEFAULT_RATELIMIT_US: u32 = 1000;
/// True for a rate limit in microseconds that a pool can have; 0 is none.
pub fn is_ratelimit(us: u32) -> bool {
    let bounds = XEN_SYSCTL_SCHED_RATELIMIT_MIN..=XEN_SYSCTL_SCHED_RATELIMIT_MAX;
    us == 0 || bounds.contains(&us)
}

/// The CPU that stays in the first pool.
const FIRST_CPU: CpuId = CpuId(0);

/// Pools there may be, as in Xen.
pub(super) const fn most(nr_cpus: usize) -> usize {
    nr_cpus.saturating_mul(2)
}

/// A pool.
pub(super) struct Pool {
    id: u32,
    queue: u32,
    ratelimit_us: u32,
}

/// What there is to say of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolInfo {
    /// Its number.
    pub id: u32,
    /// Its CPUs, a bit each.
    pub cpus: u128,
}

impl Scheduler {
    pub(super) fn add_first_pool(&self) {
        self.add_pool(0, 0);
    }

    fn add_pool(&self, id: u32, queue: u32) {
        let mut pools = self.pools.lock();
        let at = pools.partition_point(|pool| pool.id < id);
        pools.insert(
            at,
            Pool {
                id,
                queue,
                ratelimit_us: self.ratelimit_us,
            },
        );
        drop(pools);
        self.apply_ratelimit(queue, self.ratelimit_us);
    }

    fn apply_ratelimit(&self, queue: u32, us: u32) {
        if let Some(queue) = self.queue(queue) {
            queue.run.lock().ratelimit = ticks(us.into(), self.frequency);
        }
    }

    fn pool_queue(&self, id: u32) -> Option<u32> {
        let pools = self.pools.lock();
        pools.iter().find(|pool| pool.id == id).map(|p| p.queue)
    }

    fn cpus_of(&self, queue: u32) -> u128 {
        self.queue(queue).map_or(0, |queue| queue.cpus.get())
    }

    /// CPUs of the pool with number `id`; none if there is no such pool.
    pub fn pool_cpus(&self, id: u32) -> u128 {
        self.pool_queue(id).map_or(0, |queue| self.cpus_of(queue))
    }

    /// The first pool with a number from `id` on.
    pub fn pool_from(&self, id: u32) -> Option<PoolInfo> {
        let pools = self.pools.lock();
        let pool = pools.iter().find(|pool| pool.id >= id)?;
        Some(PoolInfo {
            id: pool.id,
            cpus: self.cpus_of(pool.queue),
        })
    }

    /// CPUs in no pool.
    pub fn free_cpus(&self) -> u128 {
        let online = self.online().fold(0, |set, cpu| set | bit(cpu));
        let used = self.queues.iter().fold(0, |set, q| set | q.cpus.get());
        online & !used
    }

    /// How long a vCPU of a pool runs before one that has run less may take its CPU, in
    /// microseconds.
    ///
    /// # Errors
    /// `ESRCH`.
    pub fn ratelimit_us(&self, pool: u32) -> Result<u32, Errno> {
        let pools = self.pools.lock();
        let pool = pools.iter().find(|p| p.id == pool).ok_or(Errno::Srch)?;
        Ok(pool.ratelimit_us)
    }

    /// Sets [`ratelimit_us`](Self::ratelimit_us).
    ///
    /// # Errors
    /// `ESRCH`; `EINVAL` for what is out of bounds; 0 is not.
    pub fn set_ratelimit_us(&self, pool: u32, us: u32) -> Result<(), Errno> {
        let queue = {
            let mut pools = self.pools.lock();
            let pool = pools.iter_mut().find(|p| p.id == pool).ok_or(Errno::Srch)?;
            if !is_ratelimit(us) {
                return Err(Errno::Inval);
            }
            pool.ratelimit_us = us;
            pool.queue
        };
        self.apply_ratelimit(queue, us);
        Ok(())
    }

    /// Makes a pool without CPUs, with this number or with one that is free; its number.
    ///
    /// # Errors
    /// `EEXIST`; `ENOSPC` if there are two for each CPU.
    pub fn create_pool(&self, id: Option<u32>) -> Result<u32, Errno> {
        let (id, queue) = {
            let pools = self.pools.lock();
            let exists = |id: u32| pools.iter().any(|pool| pool.id == id);
            if pools.len() >= self.queues.len() {
                return Err(Errno::NoSpc);
            }
            if id.is_some_and(exists) {
                return Err(Errno::Exist);
            }
            let after_last = pools.last().and_then(|last| last.id.checked_add(1));
            let next = after_last.filter(|&id| id != u32::MAX);
            let id = id
                .or(next)
                .or_else(|| (0..u32::MAX).find(|&id| !exists(id)))
                .ok_or(Errno::NoSpc)?;
            let used = |queue: &u32| pools.iter().any(|pool| pool.queue == *queue);
            let mut queues = 0..self.queues.len() as u32;
            (id, queues.find(|queue| !used(queue)).ok_or(Errno::NoSpc)?)
        };
        self.add_pool(id, queue);
        Ok(id)
    }

    /// Removes a pool that has no CPUs, and no domains, which the caller has made sure of.
    ///
    /// # Errors
    /// `ENOENT`; `EBUSY` for one with CPUs.
    pub fn destroy_pool(&self, id: u32) -> Result<(), Errno> {
        let queue = self.pool_queue(id).ok_or(Errno::NoEnt)?;
        if id == 0 || self.cpus_of(queue) != 0 {
            return Err(Errno::Busy);
        }
        self.pools.lock().retain(|pool| pool.id != id);
        Ok(())
    }

    /// Puts a CPU that is in no pool into one; `None` for any CPU.
    ///
    /// # Errors
    /// `EINVAL` for a CPU that the machine does not have, `ENOENT`, `ENODEV` for one that is not
    /// free.
    pub fn add_to_pool(&self, hw: &dyn Hw, id: u32, cpu: Option<CpuId>) -> Result<(), Errno> {
        if cpu.is_some_and(|cpu| self.cpu(cpu).is_none()) {
            return Err(Errno::Inval);
        }
        let queue = self.pool_queue(id).ok_or(Errno::NoEnt)?;
        let free = self.free_cpus();
        let cpu = match cpu {
            Some(cpu) => Some(cpu).filter(|&cpu| free & bit(cpu) != 0),
            None => self.online().find(|&cpu| free & bit(cpu) != 0),
        };
        let cpu = cpu.ok_or(Errno::NoDev)?;
        if let Some(q) = self.queue(queue) {
            q.cpus.set(q.cpus.get() | bit(cpu));
        }
        self.want_queue(hw, cpu, queue);
        Ok(())
    }

    /// Takes a CPU out of a pool; `None` for its last one. `vcpus` are those of the domains in it:
    /// those that may run nowhere else may then run on all CPUs of their kind. They move.
    ///
    /// # Errors
    /// `EINVAL` for a CPU that the machine does not have and for the one that must stay, `ENOENT`,
    /// `EADDRNOTAVAIL` for one that is not in the pool, `EBUSY` for the last one of a pool that has
    /// domains, or of the kind of one of `vcpus`.
    pub fn remove_from_pool(
        &self,
        hw: &dyn Hw,
        id: u32,
        cpu: Option<CpuId>,
        vcpus: &[Arc<Vcpu>],
        has_domains: bool,
    ) -> Result<(), Errno> {
        if cpu.is_some_and(|cpu| self.cpu(cpu).is_none()) {
            return Err(Errno::Inval);
        }
        let queue = self.pool_queue(id).ok_or(Errno::NoEnt)?;
        let cpus = self.cpus_of(queue);
        let last = || self.online().filter(|&cpu| cpus & bit(cpu) != 0).last();
        let cpu = cpu.or_else(last).ok_or(Errno::Inval)?;
        if cpus & bit(cpu) == 0 {
            return Err(Errno::AddrNotAvail);
        }
        if cpu == FIRST_CPU {
            return Err(Errno::Inval);
        }
        let rest = cpus & !bit(cpu);
        let fits = vcpus.iter().all(|vcpu| vcpu.sched.may_be_among(rest));
        if rest == 0 && has_domains || !fits {
            return Err(Errno::Busy);
        }
        if let Some(q) = self.queue(queue) {
            q.cpus.set(rest);
        }
        for vcpu in vcpus {
            if vcpu.sched.affinity() & rest == 0 {
                vcpu.sched.allow(u128::MAX);
            }
        }
        self.want_queue(hw, cpu, NO_QUEUE);
        for vcpu in vcpus.iter().filter(|v| v.sched.home() == cpu) {
            self.begin_move(hw, vcpu);
        }
        Ok(())
    }

    /// Lets `vcpus` in all wait in the first pool, and in others as they get there, without more
    /// memory.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn make_room(&self, vcpus: usize) -> Result<(), Errno> {
        self.most_vcpus.fetch_max(vcpus, Ordering::Relaxed);
        self.make_room_in(0)
    }

    fn make_room_in(&self, queue: u32) -> Result<(), Errno> {
        let vcpus = self.most_vcpus.load(Ordering::Relaxed);
        let queue = self.queue(queue).ok_or(Errno::Srch)?;
        queue.run.lock().make_room(vcpus).map_err(|_| Errno::NoMem)
    }

    /// Lets all vCPUs there may be wait in a pool; its CPUs.
    ///
    /// # Errors
    /// `ESRCH` for a pool that is not there, `ENODEV` for one without CPUs, `ENOMEM`.
    pub fn room_in_pool(&self, id: u32) -> Result<u128, Errno> {
        let queue = self.pool_queue(id).ok_or(Errno::Srch)?;
        let cpus = self.cpus_of(queue);
        if cpus == 0 {
            return Err(Errno::NoDev);
        }
        self.make_room_in(queue)?;
        Ok(cpus)
    }

    /// Puts a domain, whose vCPUs these are, into another pool, where it has the share that a new
    /// one has and may run on all CPUs, each of its vCPUs on those of its kind.
    ///
    /// # Errors
    /// `ESRCH` for a pool that is not there, `ENODEV` for one without CPUs, or without any of the
    /// kind of one of `vcpus`, `ENOMEM`.
    pub fn move_to_pool(&self, hw: &dyn Hw, vcpus: &[Arc<Vcpu>], id: u32) -> Result<(), Errno> {
        let queue = self.pool_queue(id).ok_or(Errno::Srch)?;
        let cpus = self.room_in_pool(id)?;
        let Some(first) = vcpus.first() else {
            return Ok(());
        };
        let share = &first.sched.share;
        if share.pool() == id {
            return Ok(());
        }
        if !vcpus.iter().all(|vcpu| vcpu.sched.may_be_among(cpus)) {
            return Err(Errno::NoDev);
        }
        self.set_cap(hw, vcpus, 0);
        share.set_weight(DEFAULT_WEIGHT);
        share.set_pool(id, queue);
        for vcpu in vcpus {
            vcpu.sched.allow(u128::MAX);
            vcpu.sched.preference.set(u128::MAX);
            self.begin_move(hw, vcpu);
        }
        Ok(())
    }
}
