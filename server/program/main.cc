// migrationd as it is shipped. One with classes of one's own looks the same.
#include "migrations/kinds/native.h"
#include "migrations/natives/simhash_text.h"
#include "server/run.h"

int main(int argc, char** argv) {
  migrationd::NativeRegistry natives;
  natives.Add("simhash_text", migrationd::SimHashText::Make);
  return migrationd::RunMigrationd(argc, argv, natives);
}
