//! Desired, live and last applied to a plan; guards; the plan as text; the changeset that carries it out.

pub mod guards;
