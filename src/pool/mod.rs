//! L2: shares engines between sessions: instances with slots, leases, order.
