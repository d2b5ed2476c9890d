// Scripts that let a shell complete migrationctl's words, made from the command line's own description.
#pragma once

#include <string>

#include "CLI/CLI.hpp"

namespace migrationctl {

// For `bash`, `zsh` or `fish`; names of migrations are asked from the server while typing, within a second.
std::string CompletionScript(const std::string& shell, CLI::App& app);

}  // namespace migrationctl
