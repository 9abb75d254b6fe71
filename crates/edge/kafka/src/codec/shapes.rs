//! The wire layout of every request that is taken. Written by `generate_shapes.py`; do not edit.

use super::shape::Kind::{Blob, Fixed, List, Nullable, Struct, Text};
use super::shape::{Field, Shape};

pub(super) static SHAPES: &[Shape] = &[
    // Produce
    Shape {
        key: 0,
        flexible_from: 9,
        fields: &[
            Field { from: 3, to: 32767, tag: None, kind: Text },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(2) },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 12, tag: None, kind: Text },
                    Field { from: 13, to: 32767, tag: None, kind: Fixed(16) },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 0, to: 32767, tag: None, kind: Blob },
                        ])),
                    },
                ])),
            },
        ],
    },
    // Fetch
    Shape {
        key: 1,
        flexible_from: 12,
        fields: &[
            Field { from: 12, to: 32767, tag: Some((0, 12)), kind: Text },
            Field { from: 0, to: 14, tag: None, kind: Fixed(4) },
            Field {
                from: 15,
                to: 32767,
                tag: Some((1, 15)),
                kind: Struct(&[
                    Field { from: 15, to: 32767, tag: None, kind: Fixed(4) },
                    Field { from: 15, to: 32767, tag: None, kind: Fixed(8) },
                ]),
            },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 3, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 4, to: 32767, tag: None, kind: Fixed(1) },
            Field { from: 7, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 7, to: 32767, tag: None, kind: Fixed(4) },
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 12, tag: None, kind: Text },
                    Field { from: 13, to: 32767, tag: None, kind: Fixed(16) },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 9, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(8) },
                            Field { from: 12, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 5, to: 32767, tag: None, kind: Fixed(8) },
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 17, to: 32767, tag: Some((0, 17)), kind: Fixed(16) },
                            Field { from: 18, to: 32767, tag: Some((1, 18)), kind: Fixed(8) },
                        ])),
                    },
                ])),
            },
            Field {
                from: 7,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 7, to: 12, tag: None, kind: Text },
                    Field { from: 13, to: 32767, tag: None, kind: Fixed(16) },
                    Field { from: 7, to: 32767, tag: None, kind: List(&Fixed(4)) },
                ])),
            },
            Field { from: 11, to: 32767, tag: None, kind: Text },
        ],
    },
    // ListOffsets
    Shape {
        key: 2,
        flexible_from: 6,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 2, to: 32767, tag: None, kind: Fixed(1) },
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 4, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(8) },
                        ])),
                    },
                ])),
            },
            Field { from: 10, to: 32767, tag: None, kind: Fixed(4) },
        ],
    },
    // Metadata
    Shape {
        key: 3,
        flexible_from: 9,
        fields: &[
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 10, to: 32767, tag: None, kind: Fixed(16) },
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                ])),
            },
            Field { from: 4, to: 32767, tag: None, kind: Fixed(1) },
            Field { from: 8, to: 10, tag: None, kind: Fixed(1) },
            Field { from: 8, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // OffsetCommit
    Shape {
        key: 8,
        flexible_from: 8,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field { from: 1, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 1, to: 32767, tag: None, kind: Text },
            Field { from: 7, to: 32767, tag: None, kind: Text },
            Field { from: 2, to: 4, tag: None, kind: Fixed(8) },
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 9, tag: None, kind: Text },
                    Field { from: 10, to: 32767, tag: None, kind: Fixed(16) },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(8) },
                            Field { from: 6, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 0, to: 32767, tag: None, kind: Text },
                        ])),
                    },
                ])),
            },
        ],
    },
    // OffsetFetch
    Shape {
        key: 9,
        flexible_from: 6,
        fields: &[
            Field { from: 0, to: 7, tag: None, kind: Text },
            Field {
                from: 0,
                to: 7,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 7, tag: None, kind: Text },
                    Field { from: 0, to: 7, tag: None, kind: List(&Fixed(4)) },
                ])),
            },
            Field {
                from: 8,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 8, to: 32767, tag: None, kind: Text },
                    Field { from: 9, to: 32767, tag: None, kind: Text },
                    Field { from: 9, to: 32767, tag: None, kind: Fixed(4) },
                    Field {
                        from: 8,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 8, to: 9, tag: None, kind: Text },
                            Field { from: 10, to: 32767, tag: None, kind: Fixed(16) },
                            Field { from: 8, to: 32767, tag: None, kind: List(&Fixed(4)) },
                        ])),
                    },
                ])),
            },
            Field { from: 7, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // FindCoordinator
    Shape {
        key: 10,
        flexible_from: 3,
        fields: &[
            Field { from: 0, to: 3, tag: None, kind: Text },
            Field { from: 1, to: 32767, tag: None, kind: Fixed(1) },
            Field { from: 4, to: 32767, tag: None, kind: List(&Text) },
        ],
    },
    // JoinGroup
    Shape {
        key: 11,
        flexible_from: 6,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 1, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field { from: 5, to: 32767, tag: None, kind: Text },
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field { from: 0, to: 32767, tag: None, kind: Blob },
                ])),
            },
            Field { from: 8, to: 32767, tag: None, kind: Text },
        ],
    },
    // Heartbeat
    Shape {
        key: 12,
        flexible_from: 4,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field { from: 3, to: 32767, tag: None, kind: Text },
        ],
    },
    // LeaveGroup
    Shape {
        key: 13,
        flexible_from: 4,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field { from: 0, to: 2, tag: None, kind: Text },
            Field {
                from: 3,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 3, to: 32767, tag: None, kind: Text },
                    Field { from: 3, to: 32767, tag: None, kind: Text },
                    Field { from: 5, to: 32767, tag: None, kind: Text },
                ])),
            },
        ],
    },
    // SyncGroup
    Shape {
        key: 14,
        flexible_from: 4,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field { from: 3, to: 32767, tag: None, kind: Text },
            Field { from: 5, to: 32767, tag: None, kind: Text },
            Field { from: 5, to: 32767, tag: None, kind: Text },
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field { from: 0, to: 32767, tag: None, kind: Blob },
                ])),
            },
        ],
    },
    // DescribeGroups
    Shape {
        key: 15,
        flexible_from: 5,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: List(&Text) },
            Field { from: 3, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // ListGroups
    Shape {
        key: 16,
        flexible_from: 3,
        fields: &[
            Field { from: 4, to: 32767, tag: None, kind: List(&Text) },
            Field { from: 5, to: 32767, tag: None, kind: List(&Text) },
        ],
    },
    // ApiVersions
    Shape {
        key: 18,
        flexible_from: 3,
        fields: &[
            Field { from: 3, to: 32767, tag: None, kind: Text },
            Field { from: 3, to: 32767, tag: None, kind: Text },
        ],
    },
    // CreateTopics
    Shape {
        key: 19,
        flexible_from: 5,
        fields: &[
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                    Field { from: 0, to: 32767, tag: None, kind: Fixed(2) },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 0, to: 32767, tag: None, kind: List(&Fixed(4)) },
                        ])),
                    },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Text },
                            Field { from: 0, to: 32767, tag: None, kind: Text },
                        ])),
                    },
                ])),
            },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 1, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // DeleteTopics
    Shape {
        key: 20,
        flexible_from: 4,
        fields: &[
            Field {
                from: 6,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 6, to: 32767, tag: None, kind: Text },
                    Field { from: 6, to: 32767, tag: None, kind: Fixed(16) },
                ])),
            },
            Field { from: 0, to: 5, tag: None, kind: List(&Text) },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
        ],
    },
    // DeleteRecords
    Shape {
        key: 21,
        flexible_from: 2,
        fields: &[
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(8) },
                        ])),
                    },
                ])),
            },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
        ],
    },
    // InitProducerId
    Shape {
        key: 22,
        flexible_from: 2,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 3, to: 32767, tag: None, kind: Fixed(8) },
            Field { from: 3, to: 32767, tag: None, kind: Fixed(2) },
            Field { from: 6, to: 32767, tag: None, kind: Fixed(1) },
            Field { from: 6, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // OffsetForLeaderEpoch
    Shape {
        key: 23,
        flexible_from: 4,
        fields: &[
            Field { from: 3, to: 32767, tag: None, kind: Fixed(4) },
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 2, to: 32767, tag: None, kind: Fixed(4) },
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                        ])),
                    },
                ])),
            },
        ],
    },
    // DescribeConfigs
    Shape {
        key: 32,
        flexible_from: 4,
        fields: &[
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Fixed(1) },
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field { from: 0, to: 32767, tag: None, kind: List(&Text) },
                ])),
            },
            Field { from: 1, to: 32767, tag: None, kind: Fixed(1) },
            Field { from: 3, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // AlterConfigs
    Shape {
        key: 33,
        flexible_from: 2,
        fields: &[
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Fixed(1) },
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Text },
                            Field { from: 0, to: 32767, tag: None, kind: Text },
                        ])),
                    },
                ])),
            },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // CreatePartitions
    Shape {
        key: 37,
        flexible_from: 2,
        fields: &[
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[Field { from: 0, to: 32767, tag: None, kind: List(&Fixed(4)) }])),
                    },
                ])),
            },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // DeleteGroups
    Shape { key: 42, flexible_from: 2, fields: &[Field { from: 0, to: 32767, tag: None, kind: List(&Text) }] },
    // IncrementalAlterConfigs
    Shape {
        key: 44,
        flexible_from: 1,
        fields: &[
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Fixed(1) },
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[
                            Field { from: 0, to: 32767, tag: None, kind: Text },
                            Field { from: 0, to: 32767, tag: None, kind: Fixed(1) },
                            Field { from: 0, to: 32767, tag: None, kind: Text },
                        ])),
                    },
                ])),
            },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // OffsetDelete
    Shape {
        key: 47,
        flexible_from: 32767,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: Text },
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field {
                        from: 0,
                        to: 32767,
                        tag: None,
                        kind: List(&Struct(&[Field { from: 0, to: 32767, tag: None, kind: Fixed(4) }])),
                    },
                ])),
            },
        ],
    },
    // DescribeCluster
    Shape {
        key: 60,
        flexible_from: 0,
        fields: &[
            Field { from: 0, to: 32767, tag: None, kind: Fixed(1) },
            Field { from: 1, to: 32767, tag: None, kind: Fixed(1) },
            Field { from: 2, to: 32767, tag: None, kind: Fixed(1) },
        ],
    },
    // DescribeTopicPartitions
    Shape {
        key: 75,
        flexible_from: 0,
        fields: &[
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: List(&Struct(&[Field { from: 0, to: 32767, tag: None, kind: Text }])),
            },
            Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
            Field {
                from: 0,
                to: 32767,
                tag: None,
                kind: Nullable(&[
                    Field { from: 0, to: 32767, tag: None, kind: Text },
                    Field { from: 0, to: 32767, tag: None, kind: Fixed(4) },
                ]),
            },
        ],
    },
];
