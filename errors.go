package coppice

import (
	"errors"
	"fmt"
)

// What the ports say. Adapters wrap these; lifecycle turns them into an [*Error] for the user.
var (
	ErrExists    = errors.New("exists already")
	ErrNoVM      = errors.New("no such VM")
	ErrNoImage   = errors.New("no such image")
	ErrNoCapture = errors.New("no such capture")
	ErrInUse     = errors.New("still in use")
	ErrNoAccount = errors.New("no such account")
	ErrNoKey     = errors.New("no such key")
	ErrNoRun     = errors.New("the VM does not run")
	ErrNoUser    = errors.New("no such user in the guest")
	ErrGuestGone = errors.New("the connection to the guest broke")
	ErrNoSpace   = errors.New("the pool is full")
	ErrNoNetwork = errors.New("the VM has no network")
	ErrNoMapping = errors.New("no such mapping")
	ErrRefused   = errors.New("nothing listens on that port of the guest")
)

// What the ports say about who may use the host.
var (
	ErrNoIdentity = errors.New("no such identity")
	ErrNoToken    = errors.New("no such token")
	ErrNoGrant    = errors.New("no such grant")
	// ErrRevoked is why something ends that a key, token or grant let begin.
	ErrRevoked = errors.New("the key, token or grant was revoked")
)

// A Code names a kind of error for programs. The codes are the contract's.
type Code string

const (
	CodeUnauthorized     Code = "UNAUTHORIZED_ERROR"
	CodeForbidden        Code = "FORBIDDEN"
	CodeNotFound         Code = "NOT_FOUND"
	CodeInvalidRequest   Code = "INVALID_REQUEST"
	CodeUnavailable      Code = "SERVICE_UNAVAILABLE"
	CodeInternal         Code = "INTERNAL_ERROR"
	CodeConflict         Code = "CONFLICT"
	CodeInvalidVMID      Code = "INVALID_VM_ID"
	CodeVMNotFound       Code = "VM_NOT_FOUND"
	CodeVMDeleted        Code = "VM_DELETED"
	CodeVMNotRunning     Code = "VM_NOT_RUNNING"
	CodeVMSuspending     Code = "VM_IS_SUSPENDING"
	CodeStillCreating    Code = "STILL_CREATING"
	CodeStartTimeout     Code = "VM_START_TIMEOUT"
	CodeExitDuringStart  Code = "VM_EXIT_DURING_START"
	CodeSpawnProcess     Code = "VM_SPAWN_PROCESS"
	CodeKernelPanic      Code = "KERNEL_PANIC"
	CodeNoMemory         Code = "INSUFFICIENT_SWAP"
	CodeNoStorage        Code = "NO_LOCAL_STORAGE_CAPACITY"
	CodeCreateBadRequest Code = "CREATE_VM_BAD_REQUEST"
	CodeVCPUNotPower     Code = "CREATE_VM_VCPU_NOT_POWER_OF_TWO"
	CodeVCPURange        Code = "CREATE_VM_VCPU_OUT_OF_RANGE"
	CodeMemNotPower      Code = "CREATE_VM_MEM_NOT_POWER_OF_TWO"
	CodeMemRange         Code = "CREATE_VM_MEM_OUT_OF_RANGE"
	CodeRootfsRange      Code = "CREATE_VM_ROOTFS_OUT_OF_RANGE"
	CodeResizeEmpty      Code = "RESIZE_VM_EMPTY_REQUEST"
	CodeResizeVCPURange  Code = "RESIZE_VM_VCPU_OUT_OF_RANGE"
	CodeResizeVCPUPower  Code = "RESIZE_VM_VCPU_NOT_POWER_OF_TWO"
	CodeResizeMemRange   Code = "RESIZE_VM_MEM_OUT_OF_RANGE"
	CodeResizeMemPower   Code = "RESIZE_VM_MEM_NOT_POWER_OF_TWO"
	CodeResizeShrinks    Code = "RESIZE_VM_ROOTFS_SHRINK_NOT_SUPPORTED"
	CodeRootfsTooLarge   Code = "ROOTFS_SIZE_TOO_LARGE"
	CodeResizeFailed     Code = "RESIZE_FAILED"
	CodeTotalVMLimit     Code = "TOTAL_VM_LIMIT_EXCEEDED"
	CodeVMLimit          Code = "VM_LIMIT_EXCEEDED"
	CodeVCPUOverPlan     Code = "VCPU_OVER_PLAN_LIMIT"
	CodeMemOverPlan      Code = "MEM_OVER_PLAN_LIMIT"
	CodeRootfsOverPlan   Code = "ROOTFS_OVER_PLAN_LIMIT"
	CodeLimitExceeded    Code = "LIMIT_EXCEEDED"
	CodeRootfsQuota      Code = "ROOTFS_STORAGE_QUOTA_EXCEEDED"
	CodeSnapshotLimit    Code = "SNAPSHOT_LIMIT_EXCEEDED"
	CodeInvalidSnapID    Code = "INVALID_SNAPSHOT_ID"
	CodeSnapshotNotFound Code = "SNAPSHOT_NOT_FOUND"
	CodeSnapBadRequest   Code = "SNAPSHOT_VM_BAD_REQUEST"
	CodeExecTimedOut     Code = "EXEC_TIMED_OUT"
	CodeExecEmpty        Code = "EXEC_EMPTY"
	CodeUserNotFound     Code = "USER_NOT_FOUND"
	CodeFilesBadRequest  Code = "FILES_BAD_REQUEST"
	CodeInvalidDomain    Code = "INVALID_DOMAIN"
	CodeDomainExists     Code = "DOMAIN_ALREADY_EXISTS"
	CodeNoDomainOwner    Code = "NO_DOMAIN_OWNERSHIP"
	CodeFileNotFound     Code = "FILE_NOT_FOUND"

	CodeInvalidSessionID  Code = "INVALID_SESSION_ID" // of a terminal, as are those below
	CodeSessionNotFound   Code = "SESSION_NOT_FOUND"
	CodeSessionExists     Code = "SESSION_ALREADY_EXISTS"
	CodeSessionExpired    Code = "SESSION_EXPIRED"
	CodeSessionUser       Code = "SESSION_USER_MISMATCH"
	CodeSessionCapReached Code = "SESSION_CAP_REACHED"
)

// Codes about who may use the host.
const (
	CodeIdentityNotFound     Code = "IDENTITY_NOT_FOUND"
	CodePermissionExists     Code = "PERMISSION_ALREADY_EXISTS"
	CodeVMPermissionNotFound Code = "VM_PERMISSION_NOT_FOUND"
)

// An Error is what a user is told: a code for programs, a sentence for people
// that says what was wrong and what would be right, and the code's own fields.
// Err is for the log only.
type Error struct {
	Code    Code
	Message string
	Fields  map[string]any
	Err     error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s (%v)", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [*Error] with a formatted message. A %w operand becomes Err as well.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// With returns e after setting one of the code's fields.
func (e *Error) With(field string, value any) *Error {
	if e.Fields == nil {
		e.Fields = map[string]any{}
	}
	e.Fields[field] = value
	return e
}

// Because returns e after setting its cause, which goes to the log only.
func (e *Error) Because(err error) *Error {
	e.Err = err
	return e
}

// NoVM returns the error of whoever asks for a VM that is not there, or is not
// there for them: it does not tell the one from the other.
func NoVM(id VMID) *Error {
	return Errorf(CodeVMNotFound, "there is no VM %s", id).With("vmId", id)
}

// CodeOf returns the code of the [*Error] in err's chain, or [CodeInternal].
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
