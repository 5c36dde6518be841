//! Rings of any shape: whatever sizes, strides, offsets and page sizes the driver chose, frames come through.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Rng, goodbye, mac, opened, plain};
use mlx5emu_driver::NetConfig;
use mlx5emu_driver::cq::CqShape;
use mlx5emu_driver::rq::RqShape;
use mlx5emu_driver::sq::SqShape;
use proptest::prelude::*;

fn cq(min: u32) -> impl Strategy<Value = CqShape> {
    (min..=10, any::<bool>(), 12u32..=15, 0usize..64, prop_oneof![Just((0, 0)), (1u16..64, 1u16..16)]).prop_map(
        |(log_size, wide, log_page, offset, (period, max_count))| CqShape {
            log_size,
            wide,
            log_page,
            // A wide entry must not cross a page.
            page_offset: if wide { offset / 2 * 128 } else { offset * 64 },
            period,
            max_count,
            compression: None,
        },
    )
}

fn sq() -> impl Strategy<Value = SqShape> {
    (4u32..=9, 12u32..=16, 0usize..32, prop_oneof![Just(9100usize), 150usize..4096], any::<bool>()).prop_map(
        |(log_size, log_page, offset, buffer, wrap)| SqShape {
            log_size,
            log_page,
            page_offset: offset * 64,
            // The longest frame's WQE takes half of the ring at most (two units of 16 bytes a basic block there): one that
            // takes it all never finds room again once the head has moved.
            buffer: buffer.max(9216usize.div_ceil((2 << log_size) - 4)),
            wrap,
        },
    )
}

fn rq() -> impl Strategy<Value = RqShape> {
    let frags = prop_oneof![
        Just(vec![9216usize]),
        Just(vec![4096, 4096, 4096]),
        Just(vec![64, 128, 1024, 9000]),
        Just(vec![1; 8].into_iter().chain([9100]).collect::<Vec<usize>>()),
    ];
    (0u32..=8, frags, 0u32..=2, 12u32..=14, 0usize..32, any::<bool>()).prop_map(
        |(log_size, frags, more, log_page, offset, keep_vlan)| {
            let log_stride = (frags.len() * 16).next_power_of_two().ilog2() + more;
            // A WQE must not cross a page: the offset is a multiple of the stride as well.
            let stride = 1usize << log_stride;
            let page_offset = offset * 64 / stride.max(64) * stride.max(64);
            RqShape { log_size, log_stride, frags, log_page, page_offset, keep_vlan }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_come_through_rings_of_any_shape(
        sq in sq(),
        rq in rq(),
        cqs in (cq(4), cq(0)),
        log_comp_eq in 2u32..=8,
        channels in 1usize..=3,
        seed in any::<u64>(),
    ) {
        let mut config = NetConfig { sq, rq, channels, log_comp_eq, mtu: 9000, ..NetConfig::default() };
        (config.sq_cq, config.rq_cq) = cqs;
        // A CQ must hold what its queue can have in flight: real drivers see to that as well.
        config.sq_cq.log_size = config.sq_cq.log_size.max(config.sq.log_size);
        config.rq_cq.log_size = config.rq_cq.log_size.max(config.rq.log_size);
        let (_, mut a, mut b) = opened(seed, &config);
        let mut rng = Rng::new(seed);
        for round in 0..120u64 {
            let len = 60 + rng.below(if round % 4 == 0 { 8900 } else { 400 }) as usize;
            let channel = rng.below(channels as u64) as usize;
            let there = plain(mac(&b), mac(&a), len, round);
            a.send_on(channel, &there, &Default::default()).unwrap();
            prop_assert_eq!(&b.recv_wait().unwrap().frame, &there);
            let back = plain(mac(&a), mac(&b), len, !round);
            b.send_on(channel, &back, &Default::default()).unwrap();
            prop_assert_eq!(&a.recv_wait().unwrap().frame, &back);
        }
        goodbye(a);
        goodbye(b);
    }
}
