//! Registers of the device: which registers there are, firmware components, temperature, non-volatile settings.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    mcam_access_reg, mcam_enhanced_features, mcam_reg, mcqi_reg, mcqi_version, mcqs_reg, mlx5_reg_node_desc, mtcap_reg,
    mtmp_reg, pcam_enhanced_features, pcam_reg, pcam_regs_5000_to_507f,
};
use mlx5emu_prm::register::Register;

use crate::card::Card;
use crate::error::{Done, Syndrome, bad_param};
use crate::notices::CRITICAL_TEMPERATURE;

/// `access_reg_group` of MCAM for 0x9000 to 0x907f (`MLX5_MCAM_REGS_FIRST_128`), and the highest group.
const MCAM_FIRST_128: u64 = 0;
const MCAM_LAST_GROUP: u64 = 3;
/// Registers of a group of PCAM or MCAM.
const GROUP: u16 = 128;
/// The registers of the port that there are.
const PORT_REGISTERS: [Register; 10] = [
    Register::PMLP,
    Register::PMTU,
    Register::PTYS,
    Register::PAOS,
    Register::PFCC,
    Register::PPCNT,
    Register::PPLM,
    Register::PPHCR,
    Register::PDDR,
    Register::PCAM,
];
/// The management registers of the first group that there are.
const MANAGEMENT_REGISTERS: [Register; 8] = [
    Register::MTCAP,
    Register::MTMP,
    Register::MCIA,
    Register::MNVDA,
    Register::MFRL,
    Register::MCQS,
    Register::MCQI,
    Register::MCAM,
];

/// `identifier` of MCQS: the boot image, the only component (`MCQS_IDENTIFIER_BOOT_IMG`).
const BOOT_IMAGE: u64 = 1;
/// `info_type` of MCQI: the version (`MCQI_INFO_TYPE_VERSION`).
const INFO_VERSION: u64 = 1;

/// `sensor_index` of MTMP from which on it is the sensor of a module.
const FIRST_MODULE_SENSOR: u64 = 64;
/// The name of the chip's sensor.
const CHIP_SENSOR: &[u8; 8] = b"asic\0\0\0\0";

/// What NODE_DESC says until the driver's user says otherwise.
const NODE_DESCRIPTION: &[u8] = b"mlx5emu";

/// Sets the bit of each register of a group in a mask that starts with the highest.
fn set_registers(mask: &mut [u8], registers: &[Register]) {
    for register in registers {
        let n = usize::from(register.0 % GROUP);
        if let Some(byte) = mask.len().checked_sub(1 + n / 8).and_then(|at| mask.get_mut(at)) {
            *byte |= 1 << (n % 8);
        }
    }
}

pub(super) fn pcam(input: &[u8], output: &mut [u8]) -> Done {
    if pcam_reg::feature_group.is_set(input) || pcam_reg::access_reg_group.is_set(input) {
        return bad_param(Syndrome::BadField, "PCAM has the groups 0 only");
    }
    let registers = pcam_reg::regs_5000_to_507f.of_mut(output);
    registers.fill(0);
    set_registers(registers, &PORT_REGISTERS);
    debug_assert!(pcam_regs_5000_to_507f::ppcnt.is_set(registers) && pcam_regs_5000_to_507f::pplm.is_set(registers));
    let features = pcam_reg::enhanced_features.of_mut(output);
    features.fill(0);
    pcam_enhanced_features::ptys_connector_type.set(features, 1);
    pcam_enhanced_features::ppcnt_statistical_group.set(features, 1);
    Ok(())
}

pub(super) fn mcam(input: &[u8], output: &mut [u8]) -> Done {
    let group = mcam_reg::access_reg_group.get(input);
    if mcam_reg::feature_group.is_set(input) || group > MCAM_LAST_GROUP {
        return bad_param(Syndrome::BadField, format!("access_reg_group {group} of MCAM"));
    }
    let registers = mcam_reg::access_regs.of_mut(output);
    registers.fill(0);
    if group == MCAM_FIRST_128 {
        set_registers(registers, &MANAGEMENT_REGISTERS);
        debug_assert!(mcam_access_reg::mtmp.is_set(registers) && mcam_access_reg::mcqi.is_set(registers));
    }
    let features = mcam_reg::enhanced_features.of_mut(output);
    features.fill(0);
    mcam_enhanced_features::mcia_32dwords.set(features, 1);
    Ok(())
}

/// One sensor: the chip's.
pub(super) fn mtcap(output: &mut [u8]) -> Done {
    output.fill(0);
    mtcap_reg::sensor_count.set(output, 1);
    mtcap_reg::sensor_map.set(output, 1);
    Ok(())
}

/// A cable of copper has no sensor: its temperature reads as 0. The highest temperature so far may be asked for or set
/// back; it is the one that is.
pub(super) fn mtmp(chip: u64, input: &[u8], output: &mut [u8]) -> Done {
    let sensor = mtmp_reg::sensor_index.get(input);
    if sensor != 0 && sensor < FIRST_MODULE_SENSOR {
        return bad_param(Syndrome::BadField, format!("sensor_index {sensor}"));
    }
    output.fill(0);
    mtmp_reg::sensor_index.set(output, sensor);
    if sensor == 0 {
        mtmp_reg::temperature.set(output, chip);
        mtmp_reg::mte.set(output, mtmp_reg::mte.get(input));
        mtmp_reg::max_temperature.set(output, chip);
        mtmp_reg::temp_threshold_hi.set(output, CRITICAL_TEMPERATURE);
        let (high, low) = CHIP_SENSOR.split_at(4);
        for (field, part) in [(mtmp_reg::sensor_name_hi, high), (mtmp_reg::sensor_name_lo, low)] {
            field.set(output, part.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
        }
    }
    Ok(())
}

/// The boot image is the only component, and nothing waits to be activated.
pub(super) fn mcqs(input: &[u8], output: &mut [u8]) -> Done {
    let component = mcqs_reg::component_index.get(input);
    if component != 0 {
        return bad_param(Syndrome::BadField, format!("component_index {component}"));
    }
    output.fill(0);
    mcqs_reg::last_index_flag.set(output, 1);
    mcqs_reg::identifier.set(output, BOOT_IMAGE);
    Ok(())
}

pub(super) fn node_desc(output: &mut [u8]) -> Done {
    let text = mlx5_reg_node_desc::desc.of_mut(output);
    text.fill(0);
    text.iter_mut().zip(NODE_DESCRIPTION).for_each(|(to, from)| *to = *from);
    Ok(())
}

impl<M: DmaSpace + 'static> Card<M> {
    /// The version of the firmware that runs; it is also the one that is stored.
    pub(super) fn mcqi(&self, input: &[u8], output: &mut [u8]) -> Done {
        let (component, kind) = (mcqi_reg::component_index.get(input), mcqi_reg::info_type.get(input));
        if component != 0 || kind != INFO_VERSION || mcqi_reg::offset.is_set(input) {
            return bad_param(Syndrome::BadField, format!("info_type {kind} of component {component}"));
        }
        let (major, minor, sub) = self.personality.version;
        let size = mcqi_reg::data_size.get(input) as usize;
        mcqi_reg::info_size.set(output, mcqi_version::SIZE as u64);
        let mut version = [0u8; mcqi_version::SIZE];
        mcqi_version::version.set(&mut version, u64::from(major) << 24 | u64::from(minor) << 16 | u64::from(sub));
        let text = format!("{major}.{minor}.{sub:04}");
        mcqi_version::version_string_length.set(&mut version, text.len() as u64);
        let room = mcqi_version::version_string.of_mut(&mut version);
        room.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        let data = output.iter_mut().skip(mcqi_reg::SIZE);
        data.zip(version).take(size).for_each(|(to, from)| *to = from);
        Ok(())
    }
}
