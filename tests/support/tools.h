// Programs of others that tests run where they are there: grpcurl, helm, kubectl-validate, promtool.
#pragma once

#include <string>

namespace migrationd {

// The tool's file, from build/tools (where scripts/test puts it) or PATH; empty when there is none.
std::string FindTool(const std::string& name);

// True when the environment says that a missing tool is a failure.
bool ToolsAreRequired();

}  // namespace migrationd
