#ifndef WYVERN_TESTS_SUPPORT_GOLDEN_H_
#define WYVERN_TESTS_SUPPORT_GOLDEN_H_

#include <string>

namespace wyvern {

// The folder of reference cases that other libraries computed: $WYVERN_GOLDEN, or ../shared/golden
// beside the repository. Empty when absent; tests that need it then skip with a message.
std::string GoldenFolder();

}  // namespace wyvern

#endif  // WYVERN_TESTS_SUPPORT_GOLDEN_H_
