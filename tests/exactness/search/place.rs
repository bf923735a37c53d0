//! Where objects lie, and calls to them at which a process kills itself.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use agentworks_objects::Objects;
use agentworks_objects::faulty::{Fault, FaultyStore, Operation};
use agentworks_objects::object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::child;
use crate::support::{minio, process};

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Place {
    Folder(PathBuf),
    /// A prefix in the bucket of the MinIO at an endpoint.
    Minio(String, String),
}

/// What a call does, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    Upload,
    Publish,
    Download,
    Delete,
}

/// On which side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Before,
    /// Of what is read, one half has come.
    Halfway,
    /// At the next call, whatever that is.
    After,
}

/// Where to die: at the how-manieth of such calls, from 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub call: Call,
    pub nth: u32,
    pub side: Side,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {}", self.side, self.call, self.nth)
    }
}

impl Call {
    fn is(self, operation: Operation, path: &Path) -> bool {
        let (of, folder) = match self {
            Call::Upload => (Operation::Put, "splits"),
            Call::Publish => (Operation::Put, "manifest"),
            Call::Download => (Operation::Get, "splits"),
            Call::Delete => (Operation::Delete, "splits"),
        };
        operation == of && path.parts().any(|part| part.as_ref() == folder)
    }
}

impl Place {
    /// The objects.
    pub fn open(&self) -> Objects {
        match self {
            Place::Folder(folder) => Objects::folder(folder).unwrap(),
            Place::Minio(endpoint, prefix) => minio::objects(endpoint, prefix),
        }
    }

    /// The same as if they lay on another machine, for whoever keeps copies of those that do.
    pub fn open_elsewhere(&self) -> Objects {
        let objects = self.open();
        Objects::of(objects.store().clone(), objects.prefix().clone(), "s3://elsewhere/".parse().unwrap())
    }
}

/// The objects, with a plan to die of.
pub fn dying(objects: Objects, plan: Option<Plan>) -> Objects {
    let Some(plan) = plan else { return objects };
    objects.through(|store| {
        let faulty = FaultyStore::new(store);
        let (mut calls, mut is_over) = (0, false);
        faulty.fail(move |operation, path| {
            if is_over {
                die(plan);
            }
            if !plan.call.is(operation, path) {
                return None;
            }
            calls += 1;
            if calls < plan.nth {
                return None;
            }
            if plan.side == Side::Before {
                die(plan);
            }
            is_over = true;
            (plan.side == Side::Halfway).then_some(Fault::BrokenOff)
        });
        Arc::new(faulty)
    })
}

fn die(plan: Plan) -> ! {
    child::tell(&format!("died: {plan}"));
    process::kill_9(std::process::id());
    // It takes a moment.
    loop {
        std::thread::park();
    }
}
