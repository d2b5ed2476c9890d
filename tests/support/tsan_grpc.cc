// Tells the thread sanitizer in what order gRPC does things; see tsan_abseil.cc for how. Inside the libraries, which are not
// instrumented, an operation goes from thread to thread by atomics.
#include <grpc/grpc.h>
#include <sanitizer/tsan_interface.h>

#include <algorithm>

#include "grpcpp/support/server_callback.h"
#include "tests/support/tsan_hidden.h"

namespace {

using migrationd::CallHidden;
using migrationd::FindHidden;

template <typename Function>
Function* HiddenFunction(Function* /*ours*/, const char* name) {
  return reinterpret_cast<Function*>(FindHidden(name));
}

// A test may be client and server at once; what crosses the wire is then ordered inside one process. By direction, so that in a
// process that only serves no call is ordered before another. Servers wait for the next event, clients for that of their tag.
char to_server = 0;
char to_client = 0;

bool IsOfClient(const grpc_op& op) {
  return op.op == GRPC_OP_SEND_CLOSE_FROM_CLIENT || op.op == GRPC_OP_RECV_INITIAL_METADATA ||
         op.op == GRPC_OP_RECV_STATUS_ON_CLIENT;
}

grpc_event Arrived(grpc_event event, char* direction) {
  if (event.type != GRPC_OP_COMPLETE) return event;
  __tsan_acquire(event.tag);
  __tsan_acquire(direction);
  return event;
}

// Hands the cancellation on and tells of what OnCancel did before the library drops its reference to the call.
class CancelledReactor : public grpc::internal::ServerReactor {
 public:
  CancelledReactor(grpc::internal::ServerReactor* reactor, void* references)
      : reactor_(reactor), references_(references) {}
  void OnCancel() override {
    reactor_->OnCancel();
    __tsan_release(references_);
    delete this;
  }
  void OnDone() override {}
  bool InternalInlineable() override { return reactor_->InternalInlineable(); }

 private:
  grpc::internal::ServerReactor* const reactor_;
  void* const references_;
};

}  // namespace

// What is done with the tag of a batch comes after what was done before the batch was started.
extern "C" {

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t count, void* tag, void* reserved) {
  static const auto hidden = HiddenFunction(&grpc_call_start_batch, "grpc_call_start_batch");
  __tsan_release(tag);
  __tsan_release(std::any_of(ops, ops + count, IsOfClient) ? &to_server : &to_client);
  return hidden(call, ops, count, tag, reserved);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline, void* reserved) {
  static const auto hidden = HiddenFunction(&grpc_completion_queue_next, "grpc_completion_queue_next");
  return Arrived(hidden(queue, deadline, reserved), &to_server);
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag, gpr_timespec deadline, void* reserved) {
  static const auto hidden = HiddenFunction(&grpc_completion_queue_pluck, "grpc_completion_queue_pluck");
  return Arrived(hidden(queue, tag, deadline, reserved), &to_client);
}
}

// OnDone comes after every other reaction of a call. The references that are counted to that end are dropped in inline functions,
// which are instrumented, and in the library, which is not.
namespace grpc {
namespace internal {

void ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  __tsan_acquire(&callbacks_outstanding_);
  CallHidden<&ServerCallbackCall::ScheduleOnDone>(this, inline_ondone);
}

void ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  ServerReactor* const cancelled = new CancelledReactor(reactor, &callbacks_outstanding_);
  CallHidden<&ServerCallbackCall::CallOnCancel>(this, cancelled);
}

}  // namespace internal
}  // namespace grpc
