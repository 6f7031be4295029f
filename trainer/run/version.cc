#include "trainer/run/version.h"

#include "wyvern_version_text.h"

namespace wyvern {

std::string Version() { return WYVERN_VERSION_TEXT; }

}  // namespace wyvern
