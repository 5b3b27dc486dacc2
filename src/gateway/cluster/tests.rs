//! Three gateways, one state.
