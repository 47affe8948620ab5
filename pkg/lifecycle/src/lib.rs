//! Starting and stopping: tasks that have names and are waited for, and the
//! signal that ends them; work on many things at once.

mod at_once;
pub mod shutdown;
pub mod task_group;

pub use at_once::at_once;
pub use shutdown::Shutdown;
pub use task_group::TaskGroup;
