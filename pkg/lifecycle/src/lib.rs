//! Starting and stopping: tasks that have names and are waited for, and the
//! signal that ends them.

pub mod shutdown;
pub mod task_group;

pub use shutdown::Shutdown;
pub use task_group::TaskGroup;
