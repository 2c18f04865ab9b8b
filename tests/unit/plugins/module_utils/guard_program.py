# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program of role guard for tests, which see it as one module: a name that one of them replaces is replaced in every file of the program that has it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import importlib
import os
import sys
import types

FOLDER = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), *'../../../../roles/guard/files/guard'.split('/')))
PACKAGE = os.path.join(FOLDER, 'pgfleet_guard')
NAMES = sorted(name[:-3] for name in os.listdir(PACKAGE) if name.endswith('.py') and name != '__init__.py')


class Program(types.ModuleType):
    def __init__(self, modules):
        super(Program, self).__init__('guard')
        for module in modules:
            self.__dict__.update((name, value) for name, value in vars(module).items() if not name.startswith('__'))
        self.__dict__['_files'] = modules

    def __setattr__(self, name, value):
        for module in self._files:
            if name in vars(module):
                setattr(module, name, value)
        super(Program, self).__setattr__(name, value)


def source():
    """The text of all files."""
    texts = []
    for name in NAMES:
        with open(os.path.join(PACKAGE, name + '.py')) as handle:
            texts.append(handle.read())
    return '\n'.join(texts)


sys.path.insert(0, FOLDER)
guard = Program([importlib.import_module('pgfleet_guard.' + name) for name in NAMES])
sys.path.remove(FOLDER)
