package vhostuser

// Virtio feature bits (virtio 1.2, section 6) and the two that vhost-user adds.
const (
	featureLogAll           = uint64(1) << 26 // VHOST_F_LOG_ALL: mark dirty pages
	featureIndirectDesc     = uint64(1) << 28
	featureEventIdx         = uint64(1) << 29
	featureProtocolFeatures = uint64(1) << 30
	featureVersion1         = uint64(1) << 32
	featureRingPacked       = uint64(1) << 34
)

// transportFeatures are the bits that this package offers beside the device's own.
const transportFeatures = featureLogAll | featureIndirectDesc | featureEventIdx |
	featureProtocolFeatures | featureVersion1 | featureRingPacked

// Protocol feature bits (vhost-user specification, "Protocol features").
const (
	protocolMQ            = uint64(1) << 0
	protocolLogShmFD      = uint64(1) << 1
	protocolReplyAck      = uint64(1) << 3
	protocolBackendReq    = uint64(1) << 5
	protocolConfig        = uint64(1) << 9
	protocolInflightShmFD = uint64(1) << 12
	protocolMemSlots      = uint64(1) << 15
)

// offeredProtocol is what every session offers. Left out on purpose: STATUS (QEMU 7.2 sends
// SET_STATUS 0 before it asks for the ring index), RESET_DEVICE, PAGEFAULT, HOST_NOTIFIER and
// in-band notifications, which front ends acknowledge whether they implement them or not.
const offeredProtocol = protocolMQ | protocolLogShmFD | protocolReplyAck | protocolBackendReq |
	protocolConfig | protocolInflightShmFD
