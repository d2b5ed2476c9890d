#include <iostream>

#include "migrationcontrol/client.h"

int main() {
  migrationcontrol::ClientOptions options;
  options.address = "127.0.0.1:1";  // nobody listens there
  options.max_attempts = 1;
  std::cout << migrationcontrol::Client(options).IsCompleted("some_migration").status().code() << '\n';
}
