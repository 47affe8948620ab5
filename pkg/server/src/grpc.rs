//! gRPC: messages as bytes, within a size limit; health.

mod calls;
mod codec;
mod health;
mod message_body;
mod size_limit;
mod unary;

pub use calls::calls;
pub use codec::BytesCodec;
pub use health::Health;
pub use message_body::MessageBody;
pub use size_limit::{SizeLimit, SizeLimitLayer};
pub use unary::unary;
