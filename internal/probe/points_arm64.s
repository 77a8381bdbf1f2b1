#include "textflag.h"

// As in points_amd64.s. Here any no-op does: a probed instruction is always four bytes long.

TEXT ·requests(SB), NOSPLIT|NOFRAME, $0-32
	MOVD records+0(FP), R0
	MOVD count+8(FP), R1
	MOVD volume+16(FP), R2
	MOVD inflight+24(FP), R3
	B    belay_requests(SB)

TEXT belay_requests(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·Kick(SB), NOSPLIT|NOFRAME, $0-16
	MOVD volume+0(FP), R0
	MOVD queue+8(FP), R1
	B    belay_kick(SB)

TEXT belay_kick(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·Notify(SB), NOSPLIT|NOFRAME, $0-16
	MOVD volume+0(FP), R0
	MOVD queue+8(FP), R1
	B    belay_notify(SB)

TEXT belay_notify(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·FlushRound(SB), NOSPLIT|NOFRAME, $0-40
	MOVD volume+0(FP), R0
	MOVD epoch+8(FP), R1
	MOVD dataNs+16(FP), R2
	MOVD journalNs+24(FP), R3
	MOVD waiters+32(FP), R4
	B    belay_flush(SB)

TEXT belay_flush(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·CheckpointStart(SB), NOSPLIT|NOFRAME, $0-24
	MOVD volume+0(FP), R0
	MOVD epoch+8(FP), R1
	MOVD ns+16(FP), R2
	B    belay_checkpoint_start(SB)

TEXT belay_checkpoint_start(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·CheckpointSealed(SB), NOSPLIT|NOFRAME, $0-24
	MOVD volume+0(FP), R0
	MOVD epoch+8(FP), R1
	MOVD ns+16(FP), R2
	B    belay_checkpoint_sealed(SB)

TEXT belay_checkpoint_sealed(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·CheckpointRetired(SB), NOSPLIT|NOFRAME, $0-24
	MOVD volume+0(FP), R0
	MOVD epoch+8(FP), R1
	MOVD ns+16(FP), R2
	B    belay_checkpoint_retired(SB)

TEXT belay_checkpoint_retired(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·Rollback(SB), NOSPLIT|NOFRAME, $0-24
	MOVD volume+0(FP), R0
	MOVD epoch+8(FP), R1
	MOVD ns+16(FP), R2
	B    belay_rollback(SB)

TEXT belay_rollback(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·Resubmit(SB), NOSPLIT|NOFRAME, $0-24
	MOVD volume+0(FP), R0
	MOVD queue+8(FP), R1
	MOVD count+16(FP), R2
	B    belay_resubmit(SB)

TEXT belay_resubmit(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·MirrorSend(SB), NOSPLIT|NOFRAME, $0-24
	MOVD volume+0(FP), R0
	MOVD epoch+8(FP), R1
	MOVD bytes+16(FP), R2
	B    belay_mirror_send(SB)

TEXT belay_mirror_send(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET

TEXT ·MirrorAck(SB), NOSPLIT|NOFRAME, $0-24
	MOVD volume+0(FP), R0
	MOVD epoch+8(FP), R1
	MOVD ns+16(FP), R2
	B    belay_mirror_ack(SB)

TEXT belay_mirror_ack(SB), NOSPLIT|NOFRAME, $0-0
	NOOP
	RET
