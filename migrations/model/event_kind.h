// What an event of a migration's history is about; stored as words.
#pragma once

#include <string>
#include <vector>

namespace migrationd {

inline constexpr char kEventDefinition[] = "DEFINITION";            // it was registered, or its file has changed
inline constexpr char kEventFreeze[] = "FREEZE";                    // a freeze of a target, or of all, began or ended
inline constexpr char kEventOwner[] = "OWNER";                      // another process, or claim, works on it
inline constexpr char kEventPace[] = "PACE";                        // the target's health stops it, slows it, or lets it go on
inline constexpr char kEventSetting[] = "SETTING";                  // something was set or asked for
inline constexpr char kEventTargetReplaced[] = "TARGET_REPLACED";   // another database stands behind the target's name
inline constexpr char kEventTargetRewound[] = "TARGET_REWOUND";     // the target was put back to an earlier moment
inline constexpr char kEventTransition[] = "TRANSITION";            // from one state to another
inline constexpr char kEventVerified[] = "VERIFIED";                // a verification came to its end

// All but PACE, of which there may be so many that what people did could not be seen among them.
inline const std::vector<std::string>& EventKindsWithoutPace() {
  static const std::vector<std::string>* const kinds = new std::vector<std::string>{
      kEventDefinition, kEventFreeze, kEventOwner, kEventSetting, kEventTargetReplaced, kEventTargetRewound, kEventTransition, kEventVerified};
  return *kinds;
}

}  // namespace migrationd
