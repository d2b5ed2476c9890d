// Tells the thread sanitizer what Abseil's locks order. Part of every executable of the preset `tsan`, and of no other.
//
// The distribution's Abseil is not instrumented: to the sanitizer all that an absl::Mutex guards looks like a race. Abseil is
// a shared library, so a definition in the executable takes the place of the library's, for our code, for gRPC and for Abseil
// itself. Each definition here calls the one that it hides between the annotations that an instrumented Abseil would make.
// They name the mutexes, so locks taken in different orders are reported too. Being definitions of what the headers declare,
// they follow the inline namespace and the mangling of whatever Abseil is installed.
#include <sanitizer/tsan_interface.h>

#include <string>
#include <typeinfo>
#include <utility>

#include "absl/base/config.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "tests/support/tsan_hidden.h"

// Of the sanitizer's library, in none of its headers.
extern "C" {
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}

namespace {

using migrationd::CallHidden;
using migrationd::FindHidden;

// The mutex whose operation this thread is in: there the sanitizer ignores what the thread does.
constinit thread_local absl::Mutex* inside = nullptr;

template <typename Operation>
auto RunInside(absl::Mutex* mutex, Operation operation) {
  struct Restore {
    ~Restore() { inside = before; }
    absl::Mutex* before;
  } restore{std::exchange(inside, mutex)};
  return operation();
}

// Some of Abseil's operations call others on the same mutex; only the outermost is annotated.

template <typename Operation>
auto Locking(absl::Mutex* mutex, unsigned flags, Operation operation) {
  if (inside == mutex) return operation();
  struct Annotated {
    Annotated(absl::Mutex* mutex, unsigned flags) : mutex(mutex), flags(flags) { __tsan_mutex_pre_lock(mutex, flags); }
    ~Annotated() { __tsan_mutex_post_lock(mutex, flags, 0); }
    absl::Mutex* mutex;
    unsigned flags;
  } annotated(mutex, flags);
  return RunInside(mutex, operation);
}

template <typename Operation>
bool TryLocking(absl::Mutex* mutex, unsigned flags, Operation operation) {
  flags |= __tsan_mutex_try_lock;
  __tsan_mutex_pre_lock(mutex, flags);
  const bool locked = RunInside(mutex, operation);
  __tsan_mutex_post_lock(mutex, locked ? flags : flags | __tsan_mutex_try_lock_failed, 0);
  return locked;
}

template <typename Operation>
void Unlocking(absl::Mutex* mutex, unsigned flags, Operation operation) {
  if (inside == mutex) return operation();
  __tsan_mutex_pre_unlock(mutex, flags);
  RunInside(mutex, operation);
  __tsan_mutex_post_unlock(mutex, flags);
}

// A thread that unlocks may evaluate the condition while the one that constructed it waits. Abseil hands it over in its queue of
// waiters, not under the mutex.
template <typename Operation>
auto LockingWhen(absl::Mutex* mutex, unsigned flags, const absl::Condition& condition, Operation operation) {
  __tsan_release(const_cast<absl::Condition*>(&condition));
  return Locking(mutex, flags, operation);
}

// Of a mutex that is held exclusively: a waiter that holds it as a reader is reported as one who unlocks what it did not lock.
template <typename Operation>
auto Waiting(absl::Mutex* mutex, Operation operation) {
  if (inside == mutex) return operation();
  __tsan_mutex_pre_unlock(mutex, 0);
  __tsan_mutex_post_unlock(mutex, 0);
  return Locking(mutex, 0, operation);
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

// A thread that unlocks evaluates the conditions of those who wait, and one that locks its own, in the midst of the operation.
// What a condition reads is not ignored, and the mutex is held meanwhile.
bool Condition::Eval() const {
  Mutex* const mutex = std::exchange(inside, nullptr);
  if (mutex == nullptr) return CallHidden<&Condition::Eval>(this);
  __tsan_mutex_pre_divert(mutex, 0);
  __tsan_acquire(mutex);
  __tsan_acquire(const_cast<Condition*>(this));
  const bool result = CallHidden<&Condition::Eval>(this);
  __tsan_release(mutex);
  __tsan_mutex_post_divert(mutex, 0);
  inside = mutex;
  return result;
}

// Another mutex may follow at the same address. The sanitizer would count this as a write to the mutex, which gRPC's, ordered by
// what it does not see, do not stand; that one of ours goes too early it sees when the memory is freed. Later versions have an
// inline destructor, which can not be replaced.
#if defined(ABSL_LTS_RELEASE_VERSION) && ABSL_LTS_RELEASE_VERSION < 20240116
Mutex::~Mutex() {
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  __tsan_mutex_destroy(this, 0);
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  // There is no pointer to a destructor. Of N4absl...5MutexE the symbol is _ZN4absl...5MutexD1Ev.
  static const auto hidden = [] {
    std::string name = typeid(Mutex).name();
    name.pop_back();
    return reinterpret_cast<void (*)(Mutex*)>(FindHidden(("_Z" + name + "D1Ev").c_str()));
  }();
  hidden(this);
}
#endif

void Mutex::Lock() {
  Locking(this, 0, [this] { CallHidden<&Mutex::Lock>(this); });
}
bool Mutex::TryLock() {
  return TryLocking(this, 0, [this] { return CallHidden<&Mutex::TryLock>(this); });
}
void Mutex::Unlock() {
  Unlocking(this, 0, [this] { CallHidden<&Mutex::Unlock>(this); });
}

void Mutex::ReaderLock() {
  Locking(this, __tsan_mutex_read_lock, [this] { CallHidden<&Mutex::ReaderLock>(this); });
}
bool Mutex::ReaderTryLock() {
  return TryLocking(this, __tsan_mutex_read_lock, [this] { return CallHidden<&Mutex::ReaderTryLock>(this); });
}
void Mutex::ReaderUnlock() {
  Unlocking(this, __tsan_mutex_read_lock, [this] { CallHidden<&Mutex::ReaderUnlock>(this); });
}

void Mutex::LockWhen(const Condition& condition) {
  LockingWhen(this, 0, condition, [&] { CallHidden<&Mutex::LockWhen>(this, condition); });
}
bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockingWhen(this, 0, condition, [&] { return CallHidden<&Mutex::LockWhenWithTimeout>(this, condition, timeout); });
}
bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  return LockingWhen(this, 0, condition, [&] { return CallHidden<&Mutex::LockWhenWithDeadline>(this, condition, deadline); });
}
void Mutex::ReaderLockWhen(const Condition& condition) {
  LockingWhen(this, __tsan_mutex_read_lock, condition, [&] { CallHidden<&Mutex::ReaderLockWhen>(this, condition); });
}
bool Mutex::ReaderLockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockingWhen(this, __tsan_mutex_read_lock, condition,
                 [&] { return CallHidden<&Mutex::ReaderLockWhenWithTimeout>(this, condition, timeout); });
}
bool Mutex::ReaderLockWhenWithDeadline(const Condition& condition, Time deadline) {
  return LockingWhen(this, __tsan_mutex_read_lock, condition,
                 [&] { return CallHidden<&Mutex::ReaderLockWhenWithDeadline>(this, condition, deadline); });
}

// A condition that holds already lets nobody else in.
void Mutex::Await(const Condition& condition) {
  if (!condition.Eval()) Waiting(this, [&] { CallHidden<&Mutex::Await>(this, condition); });
}
bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  return condition.Eval() ||
         Waiting(this, [&] { return CallHidden<&Mutex::AwaitWithTimeout>(this, condition, timeout); });
}
bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  return condition.Eval() ||
         Waiting(this, [&] { return CallHidden<&Mutex::AwaitWithDeadline>(this, condition, deadline); });
}

// Signal() needs nothing: the mutex orders what the waiter reads.
void CondVar::Wait(Mutex* mutex) {
  Waiting(mutex, [&] { CallHidden<&CondVar::Wait>(this, mutex); });
}
bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  return Waiting(mutex, [&] { return CallHidden<&CondVar::WaitWithTimeout>(this, mutex, timeout); });
}
bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  return Waiting(mutex, [&] { return CallHidden<&CondVar::WaitWithDeadline>(this, mutex, deadline); });
}

// The following order by an atomic too. HasBeenNotified() is inline, and acquires what is released here.
void Notification::Notify() {
  __tsan_release(&notified_yet_);
  CallHidden<&Notification::Notify>(this);
}
void Notification::WaitForNotification() const {
  CallHidden<&Notification::WaitForNotification>(this);
  HasBeenNotified();
}
bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  return CallHidden<&Notification::WaitForNotificationWithTimeout>(this, timeout) && HasBeenNotified();
}
bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  return CallHidden<&Notification::WaitForNotificationWithDeadline>(this, deadline) && HasBeenNotified();
}

bool BlockingCounter::DecrementCount() {
  __tsan_release(&count_);
  const bool last = CallHidden<&BlockingCounter::DecrementCount>(this);
  // The counter may be gone by now, its address is good for the sanitizer.
  if (last) __tsan_acquire(&count_);
  return last;
}
void BlockingCounter::Wait() {
  CallHidden<&BlockingCounter::Wait>(this);
  __tsan_acquire(&count_);
}

ABSL_NAMESPACE_END
}  // namespace absl
