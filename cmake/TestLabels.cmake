# Gives tests the labels that tests/labels.txt has for their names. CMake includes this when it configures,
# and CTest when it reads the tests that GoogleTest's programs list.
cmake_policy(VERSION 3.25)  # CTest sets none
set(WYVERN_LABELS_FILE ${CMAKE_CURRENT_LIST_DIR}/../tests/labels.txt)

function(wyvern_label_tests)
  file(STRINGS ${WYVERN_LABELS_FILE} RULES REGEX "^[a-z]")
  foreach(NAME IN LISTS ARGN)
    set(LABELS "")
    foreach(RULE IN LISTS RULES)
      string(REGEX MATCH "^([a-z]+) +(.+)$" MATCHED "${RULE}")
      set(LABEL ${CMAKE_MATCH_1})
      if(NAME MATCHES "${CMAKE_MATCH_2}" AND NOT LABEL IN_LIST LABELS)
        list(APPEND LABELS ${LABEL})
      endif()
    endforeach()
    if(NOT "slow" IN_LIST LABELS AND NOT "gpu" IN_LIST LABELS)
      list(APPEND LABELS fast)
    endif()
    set_tests_properties("${NAME}" PROPERTIES LABELS "${LABELS}")
  endforeach()
endfunction()

# Labels the tests that add_test has made in the current folder.
function(wyvern_label_folder)
  get_property(TESTS DIRECTORY PROPERTY TESTS)
  wyvern_label_tests(${TESTS})
endfunction()
