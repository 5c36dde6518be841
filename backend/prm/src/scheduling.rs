//! Numbers of the scheduling of transmission.

use crate::names::open_enums;

open_enums! {
    /// `scheduling_hierarchy`: what is scheduled (`SCHEDULING_HIERARCHY_*` in mlx5_ifc.h).
    SchedulingHierarchy(u8, "scheduling hierarchy", "SCHEDULING_HIERARCHY_") { E_SWITCH = 0x2, NIC = 0x3 }

    /// `element_type` of a scheduling element (`SCHEDULING_CONTEXT_ELEMENT_TYPE_*` in mlx5_ifc.h). As the number of a bit, in
    /// `esw_element_type`.
    SchedulingElementType(u8, "scheduling element type", "SCHEDULING_CONTEXT_ELEMENT_TYPE_") {
        TSAR = 0x0, VPORT = 0x1, VPORT_TC = 0x2, PARA_VPORT_TC = 0x3, QUEUE_GROUP = 0x4, RATE_LIMIT = 0x5,
    }

    /// `tsar_type` of a TSAR (`TSAR_ELEMENT_TSAR_TYPE_*` in mlx5_ifc.h). As the number of a bit, in `esw_tsar_type`.
    TsarType(u8, "TSAR type", "TSAR_ELEMENT_TSAR_TYPE_") { DWRR = 0x0, ROUND_ROBIN = 0x1, ETS = 0x2, TC_ARB = 0x3 }

    /// Bits of `modify_bitmask` of MODIFY_SCHEDULING_ELEMENT (in mlx5_ifc.h).
    ModifySchedulingElement(u32, "scheduling element field", "MODIFY_SCHEDULING_ELEMENT_IN_MODIFY_BITMASK_") {
        BW_SHARE = 0x1, MAX_AVERAGE_BW = 0x2,
    }
}
