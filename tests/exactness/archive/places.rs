//! Places that fail: a disk that is full, a bucket that is slow and goes away.

use std::fs;
use std::process::Command;
use std::time::Duration;

use agentworks_archive::Archive;
use agentworks_objects::Objects;
use rustix::process::Signal;

use super::check::{filled, hold};
use super::member::start;
use super::order;
use crate::support::minio::{self, Minio};
use crate::support::{Scratch, eventually, process};
use crate::world::{PATIENCE, World, alone, seed};

/// A file system in memory; gone when this is dropped.
struct SmallDisk(Scratch);

impl SmallDisk {
    /// One of so many KiB; `None` where nobody may make one.
    fn new(size: u32) -> Option<Self> {
        let scratch = Scratch::new("archive-disk");
        fs::create_dir(scratch.path().join("archive")).unwrap();
        let disk = SmallDisk(scratch);
        disk.mount(&format!("size={size}k")).then_some(disk)
    }

    fn mount(&self, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.0.path().join("archive"));
        command.status().is_ok_and(|status| status.success())
    }

    /// As if somebody had made room.
    fn grow(&self) {
        assert!(self.mount("remount,size=256m"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path().join("archive")).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_it_and_nothing_is_lost() {
    let _alone = alone().await;
    let Some(disk) = SmallDisk::new(400) else { return println!("this needs the right to mount a file system") };
    let mut world = World::new(2, seed("a full disk")).await;
    let order = order(&world, &disk.0);
    let objects = Objects::folder(&order.objects).unwrap();
    let runtime = start(Archive::open(&objects).await.unwrap(), order.log.clone().unwrap());
    world.log.load(4, 6000).await;
    // It says so, and goes on trying.
    let problems = async || {
        let problems = runtime.status().problems().join("; ");
        problems.contains("can't be reached").then_some(problems)
    };
    println!("full: {}", eventually(PATIENCE, problems).await);
    assert!(runtime.status().fault.is_none());
    disk.grow();
    filled(&world, &objects).await;
    runtime.shutdown().await;
    println!("full disk: {:?}", hold(&world, &objects).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_slow_and_killed_loses_and_doubles_nothing() {
    let _alone = alone().await;
    let scratch = Scratch::new("archive-minio");
    let Some(mut minio) = Minio::start(scratch.path()).await else { return };
    let mut world = World::new(2, seed("MinIO")).await;
    let objects = minio::objects(&minio.endpoint(), "prefix");
    let runtime = start(Archive::open(&objects).await.unwrap(), order(&world, &scratch).log.unwrap());
    world.log.load(4, 800).await;
    filled(&world, &objects).await;
    for _ in 0..3 {
        // In the midst of whatever it does.
        world.log.load(4, 1200).await;
        process::signal(minio.pid(), Signal::STOP);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        process::signal(minio.pid(), Signal::CONT);
        world.log.load(4, 1200).await;
        minio.kill_9().await;
        tokio::time::sleep(Duration::from_millis(1000)).await;
        minio.restart().await;
    }
    filled(&world, &objects).await;
    runtime.shutdown().await;
    println!("MinIO: {:?}", hold(&world, &objects).await);
}
