// For definitions that take the place of those in a shared library: what they hide. See tsan_abseil.cc.
#pragma once

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace migrationd {

inline void* FindHidden(const char* mangled_name) {
  void* hidden = dlsym(RTLD_NEXT, mangled_name);
  if (hidden == nullptr) {
    std::fprintf(stderr, "tsan: no shared library has %s. Is its library linked statically?\n", mangled_name);
    std::abort();
  }
  return hidden;
}

// The library's `member`: what comes after ours under the same name. A pointer to a member function that is not virtual begins
// with the address of the function.
template <typename Member>
Member Hidden(Member member) {
  void* address = nullptr;
  std::memcpy(&address, &member, sizeof address);
  Dl_info info = {};
  if (dladdr(address, &info) == 0 || info.dli_saddr != address) {
    std::fprintf(stderr, "tsan: a definition is not exported, so it does not take the place of the library's.\n");
    std::abort();
  }
  address = FindHidden(info.dli_sname);
  std::memcpy(&member, &address, sizeof address);
  return member;
}

template <auto kMember, typename Object, typename... Arguments>
auto CallHidden(Object* object, const Arguments&... arguments) {
  static const auto hidden = Hidden(kMember);
  return (object->*hidden)(arguments...);
}

}  // namespace migrationd
