#include "textflag.h"

// Each point is two symbols: what Go calls, which loads the arguments into the registers of the C
// calling convention, and the point itself. It has no declaration in Go, which would put the
// package and the calling convention into its name, and the no-op is its first instruction, as
// bpftrace knows no other place. A frame or a stack check would come before it.

TEXT ·requests(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ records+0(FP), DI
	MOVQ count+8(FP), SI
	MOVQ volume+16(FP), DX
	MOVQ inflight+24(FP), CX
	JMP  belay_requests(SB)

TEXT belay_requests(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·Kick(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ volume+0(FP), DI
	MOVQ queue+8(FP), SI
	JMP  belay_kick(SB)

TEXT belay_kick(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·Notify(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ volume+0(FP), DI
	MOVQ queue+8(FP), SI
	JMP  belay_notify(SB)

TEXT belay_notify(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·FlushRound(SB), NOSPLIT|NOFRAME, $0-40
	MOVQ volume+0(FP), DI
	MOVQ epoch+8(FP), SI
	MOVQ dataNs+16(FP), DX
	MOVQ journalNs+24(FP), CX
	MOVQ waiters+32(FP), R8
	JMP  belay_flush(SB)

TEXT belay_flush(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·CheckpointStart(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ volume+0(FP), DI
	MOVQ epoch+8(FP), SI
	MOVQ ns+16(FP), DX
	JMP  belay_checkpoint_start(SB)

TEXT belay_checkpoint_start(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·CheckpointSealed(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ volume+0(FP), DI
	MOVQ epoch+8(FP), SI
	MOVQ ns+16(FP), DX
	JMP  belay_checkpoint_sealed(SB)

TEXT belay_checkpoint_sealed(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·CheckpointRetired(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ volume+0(FP), DI
	MOVQ epoch+8(FP), SI
	MOVQ ns+16(FP), DX
	JMP  belay_checkpoint_retired(SB)

TEXT belay_checkpoint_retired(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·Rollback(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ volume+0(FP), DI
	MOVQ epoch+8(FP), SI
	MOVQ ns+16(FP), DX
	JMP  belay_rollback(SB)

TEXT belay_rollback(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·Resubmit(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ volume+0(FP), DI
	MOVQ queue+8(FP), SI
	MOVQ count+16(FP), DX
	JMP  belay_resubmit(SB)

TEXT belay_resubmit(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·MirrorSend(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ volume+0(FP), DI
	MOVQ epoch+8(FP), SI
	MOVQ bytes+16(FP), DX
	JMP  belay_mirror_send(SB)

TEXT belay_mirror_send(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET

TEXT ·MirrorAck(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ volume+0(FP), DI
	MOVQ epoch+8(FP), SI
	MOVQ ns+16(FP), DX
	JMP  belay_mirror_ack(SB)

TEXT belay_mirror_ack(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0x0F; BYTE $0x1F; BYTE $0x44; BYTE $0x00; BYTE $0x00
	RET
