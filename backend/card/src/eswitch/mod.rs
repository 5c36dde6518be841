//! The e-switch: so far each function's own vport.

pub mod vport;
