"""The guard with one of its margins or rules taken out: (name, the text in one of its files, what stands there instead).

A mutant that no schedule finds says that the simulator does not reach that rule, or that another rule covers for it.
"""
import itertools

from simulation import adapter
from simulation import known
from simulation import scenario
from simulation import schedules

# Not caught, and why: another rule covers for it, or nothing here comes to where it matters. A run fails for others alone.
COVERED = {
    'promotes where a voter is young': 'the other nodes remember that it was asked, and the primary sees the locks',
    'holds no lock after a promotion': 'a start sees the votes',
    'starts beside a primary': 'who has voted for that one says so, and it answers itself when the start looks again',
    'a notification is not a vote': 'who was notified has voted, or knows of the newer timeline',
    'nobody has followed': 'a witness here has given its vote to whom it names',
    'rewinds a newer timeline': 'an older primary does not start any more beside a newer timeline',
    'history files are not looked at': 'who has a newer history file here has also come on that timeline, or is in sight of somebody who has',
    'the timeline that it has come on is not looked at': 'a standby here tells its timeline while it streams, and control data follow soon',
    'a history file is taken for a position': 'repmgr elects first, by positions of its own',
    'promotes with fewer votes': 'there are fewer locks, too',
    'promotes beside a primary': 'that primary has asked, and repmgr standby promote looks as well',
    'promotes without locks': 'the locks are counted once more after the second look',
    'does not notice that it stood still': 'the tick in which it stood still ends with the look at who is in sight',
    'starts below a newer timeline': 'a standby on a newer timeline also names its primary',
    'every word of a witness is old': 'no primary here has a witness that has never followed it, and names who was promoted instead of it',
    'a hook of another node is not waited for': 'repmgrd holds its election again after three seconds',
    'never tells who waits': 'repmgrd here looks for a primary while it waits for that word',
    'stops a second later': 'the fuse is through two seconds after the isolation limit',
    'who has voted for another follows all the same': 'a primary that sees a vote for another one has stopped before two are compared',
    'a vote is withdrawn by what was answered before a pause': 'no scenario pauses a machine in the first minute of what is a vote for nothing',
    'never takes back a notification': 'a repmgrd here that was told of a primary which is gone looks for another one at once',
}

MUTANTS = [
    ('no margin between stop and promotion', 'STOP_MARGIN = 3\n', 'STOP_MARGIN = -4\n'),
    ('a margin of nothing', 'STOP_MARGIN = 3\n', 'STOP_MARGIN = 0\n'),
    ('a start is locked for no time', 'START_LEASE = 15\n', 'START_LEASE = 0\n'),
    ('a started server is given no time', 'BLIND = 10\n', 'BLIND = 0\n'),
    ('half is a majority', 'return votes // 2 + 1', 'return votes // 2'),
    ('promotes though the primary has asked', '    if asked:\n        return asked, True', '    if False:\n        return asked, True'),
    ('forgets who was asked with the connection', "    return before if before['gone'] else dict(before, at=now, gone=True)", '    return None'),
    ('goes by its own limit and not by the word of the primary', "        told = found['word'].get('lease', lease)\n", '        told = lease\n'),
    ('waits for the limit where the primary does not stop', "        if told is None:\n", '        told = told or lease\n        if False:\n'),
    ('an operator\'s word is not heard', "found['at'] < dead.get(found['primary'], -1)", 'False'),
    ('counts its own votes only', '        if theirs and sees < majority(len(theirs)):', '        if False:'),
    ('no vote is kept', 'ask_all(voters[1:], 5, VOTE % (literal(name), literal(name)))', 'ask_all(voters[1:], 5, VOTE % ("\'\'", "\'\'"))'),
    ('starts though another was voted for', '    return voted_for_another(peers, answering, timeline) if told else None', '    return None'),
    ('a vote is withdrawn by what was answered before a pause', 'nothing = number in standbys and (later, number) in self.void\n',
     'nothing = number in standbys\n'),
    ('stops for a vote of before', "self.polled.get(peer.name) == (voted(peer.answer), True)]", 'True]'),
    ('goes on though another was voted for', '        if out and not other:', '        if False:'),
    ('who has voted for another follows all the same', '    return later > timeline and number == rival', '    return False'),
    ('a vote for nothing is never withdrawn', "(nothing if later > here['timeline'] else follows)", "later <= here['timeline'] and follows"),
    ('does not see that another is promoted', '        if promoting and out_of_sight(', '        if False and out_of_sight('),
    ('old answers stand against a new primary', 'SECOND_LOOK = 1\n', 'SECOND_LOOK = 100\n'),
    ('a paused primary never stops', "            self.state['armed'] and self.config['automatic']) else []", "            self.replaceable()) else []"),
    ('a paused primary stops', "        return not self.local.answer.get('paused') or peer.node_id in", "        return True or peer.node_id in"),
    ('promotes where a voter is young', '    if young:\n', '    if False:\n'),
    ('promotes where a voter has seen the primary', 'seconds is not None and seconds < lease:', 'False:'),
    ('promotes with fewer votes', 'if len(voters) + 1 < majority(votes):', 'if False:'),
    ('promotes whatever is missing', '        if len(unsure) >= synchronous:', '        if False:'),
    ('promotes beside one that has more', '        if ahead:\n            return \'%s has received more',
     '        if False:\n            return \'%s has received more'),
    ('promotes beside one that has yet to replay', "(not seen(peer) or peer.answer.get('replaying'))", '(not seen(peer))'),
    ('promotes beside a primary', "    return '%s is primary' % primary.name if primary else ''", "    return ''"),
    ('promotes without looking again', '    if enough:\n        ask_all(servers, 2)\n', '    if False:\n        ask_all(servers, 2)\n'),
    ('promotes without locks', '    return len(got) >= need, ', '    return True, '),
    ('holds no lock after a promotion', '                        hold(voters, lease)', '                        pass'),
    ('holds no lock after a start', '                hold(voters, START_LEASE)', '                pass'),
    ('two promotions on one host', 'if only_one(PROMOTE_FILE, deadline) is None:', 'if False:'),
    ('never stops a primary that is alone', '        if unseen:\n            # A server that was frozen',
     '        if False:\n            # A server that was frozen'),
    ('stops a second later', 'limit = self.config[\'isolation\']\n        return peer.seen(limit',
     'limit = self.config[\'isolation\'] + 4\n        return peer.seen(limit'),
    ('counts on those who do not see it', 'self.makes_way() and is_blind(peer', 'False and is_blind(peer'),
    ('a server that has recovered is given no time', 'return clock() - self.served > BLIND', 'return True'),
    ('ends a recovery for those who may not be able to elect', "self.local.answered or 0) > PATIENCE + self.config['detection']",
     'self.local.answered or 0) > BLIND'),
    ('ends every recovery in time', 'self.started > self.blinded:\n            return False', 'False:\n            return False'),
    ('never ends a recovery', "        return clock() - max(self.since, self.local.answered or 0) > PATIENCE", '        return False and PATIENCE'),
    ('a primary that hangs is let be', 'if blind and self.hangs() and', 'if False and'),
    ('a primary that recovers in its place hangs', 'self.local.refused or 0) > limits *', '0) > limits *'),
    ('does not say that its server hangs', "'hangs': fences and self.hangs(1)}", "'hangs': False}"),
    ('nobody is blind', 'and (unheard(answer) or 0) > limit)', 'and False)'),
    ('does not notice that it stood still', "asleep >= self.config['isolation'] + STOP_MARGIN and self.replaceable()", 'False'),
    ('stands by a second primary', "                if yields == 'this':\n", "                if False:\n"),
    ('the newer primary yields', "    return 'this' if theirs > timeline else 'other' if theirs < timeline else ''",
     "    return 'other' if theirs > timeline else 'this' if theirs < timeline else ''"),
    ('goes on where its standbys stream from another', 'past = streams_past(answering', 'past = [] and streams_past(answering'),
    ('goes on where a witness names another', "named = names_another(self.peers, answering, self.local.answer['timeline'], self.state['reign'])",
     'named = None'),
    ('starts beside a primary', '    if primary:\n        return Problem(\'primary\', \'%s is primary, on timeline %s (here: %s)\' % (primary.name, primary',
     '    if False:\n        return Problem(\'primary\', \'%s is primary, on timeline %s (here: %s)\' % (primary.name, primary'),
    ('starts below a newer timeline', '    if ahead:\n        return Problem(\'promoted\'', '    if False:\n        return Problem(\'promoted\''),
    ('starts where a voter names another', '    if named:\n        return named\n', ''),
    ('starts alone', "    unseen = out_of_sight(peers, seen, votes)\n    if unseen:\n        return Problem('isolated'",
     "    unseen = out_of_sight(peers, seen, votes)\n    if False:\n        return Problem('isolated'"),
    ('history files are not looked at', "max(known.get('history') or 0, answer['timeline'])", "answer['timeline']"),
    ('the timeline that it has come on is not looked at', "max(known.get('reached') or 0, answer['timeline'])", "answer['timeline']"),
    ('a history file is taken for a position', "        answer['newest'] = max(known.get('history') or 0, answer['timeline'])",
     "        answer['timeline'] = answer['newest'] = max(known.get('history') or 0, answer['timeline'])"),
    ('a notification is not a vote', "numbers = [peer.answer.get('notified')] if told else []", 'numbers = []'),
    ('a witness is not asked whom it follows', "            numbers += [peer.answer.get('upstream'), peer.answer.get('primary_id')]", '            pass'),
    ('every word of a witness is old', "    return False if peer.node_id in followed else replaced in (None, number)",
     '    return peer.node_id not in followed'),
    ('no word of a witness is old', "    return False if peer.node_id in followed else replaced in (None, number)", '    return False'),
    ('a witness may always know more', "    if peer.witness and not peer.vote and number == replaced and number not in followed:", '    if False:'),
    ('the file forgets whom it has replaced', '        self.keep(reign=dict(reign, followed=sorted(followed), limited=sorted(limited)))', '        pass'),
    ('nobody has followed', '                followed.add(peer.node_id)', '                pass'),
    ('rewinds a newer timeline', "        if primary and (primary.answer.get('timeline') or 0) < timeline:", '        if False:'),
    ('its own newer timeline is not seen', "    return max([int(number) for number in numbers if number.isdigit()] + [newest_history(directory)])",
     '    return 1'),
    ('asks under another name', "'watch' if word is None else 'primary')", "'watch')"),
    ('asks as primary when it is stopped', "word = self.word() if kind == 'primary' and pid else None", "word = self.word() if kind == 'primary' else None"),
    ('an answer counts from when it came', '                self.answered = self._asked\n                self.endless',
     '                self.answered = clock() + 3\n                self.endless'),
    ('a full server is out of sight', "            self._spare, self._spared = True, clock()\n            self.ask(script)\n", '            pass\n'),
    ('waits for ever for an answer', "        if self._asked is not None and now - self._asked > patience:", '        if False:'),
    ('a hook of another node is not waited for', "        if not wait or clock() >= deadline:", '        if True:'),
    ('never starts a server again', "        self.start('starts the server again, in its place')", '        pass'),
    ('never starts a standby again', "            self.start('starts the standby again')", '            pass'),
    ('never holds an election', '            self.elect()\n            return', '            return'),
    ('leaves no election to one whose repmgrd is between two starts', 'can_take_over(peers, seen, daemon=not deference)', 'can_take_over(peers, seen)'),
    ('never follows a primary that it missed', "                self.left_behind(primary)", '                pass'),
    ('never rejoins', "        if primary:\n            self.rejoin(primary, control)\n            return\n", "        if primary:\n            return\n"),
    ('never registers itself', '        else:\n            self.register()\n', '        else:\n'),
    ('never adopts a witness', '            self.adopt(answering)\n', ''),
    ('never tells who waits', '            self.tell(answering)\n', ''),
    ('never takes back a notification', '            self.forget(answering)\n', ''),
    ('starts in a loop', "self.blinded is not None and clock() - self.blinded < PATIENCE + self.config['detection'] and can_take_over(self.peers, self.fresh)",
     'False'),
    ('counts a vote too many', 'return 1 + sum(1 for peer in config[\'peers\'] if peer[\'vote\'])',
     'return 2 + sum(1 for peer in config[\'peers\'] if peer[\'vote\'])'),
    ('a stop leaves no word', "    try:\n        with open(STOPPED_FILE, 'w') as handle:", "    try:\n        with open('/run/nothing', 'w') as handle:"),
    ('the fuse waits far too long', 'FUSE = 2\n', 'FUSE = 30\n'),
    ('the fuse waits for nobody', 'FUSE = 2\n', 'FUSE = -1\n'),
    ('a guard that is ended leaves its limit', 'write_stamp(dict(self.stamped[0], limit=None, promoted=None, ended=clock()))', 'write_stamp(self.stamped[0])'),
    ('a guard that starts grants a new period', "if first and kind == 'primary' and pid:", 'if False:'),
    ('a guard that starts has no time to look', 'self.sight = max(self.sight, now + LOOK - limit - FUSE)', 'pass'),
    ('a guard whose file is lost is not armed', "if self.before and self.before.get('fences') and not self.state['armed']:", 'if False:'),
    ('the fuse knows no pause', 'FUSE if need and self.replaceable() else None', 'FUSE if need else None'),
    ('the fuse is told nothing of a standby', "if fences else None, 'promoted': limit,\n", "if fences else None, 'promoted': None,\n"),
    ('a start beside no guard is nobody\'s', "if stamp and stamp['limit'] is not None:", 'if False:'),
    ('what promotes itself starts like a standby', "    return 'standby' if is_standby(directory) else 'primary'\n",
     "    return 'standby' if is_standby(directory) or promotes_itself(directory) else 'primary'\n"),
    ('a restore is measured by the timeline of its backup', "if promotes_itself(directory) else timeline", 'if False else timeline'),
    ('a restore has replaced the last primary', "is None or promotes_itself(directory):", 'is None:'),
    ('starts beside one that recovers', ' or (\n                becomes_primary(config, peers))', ''),
    ('goes on as primary where it was killed while it was promoted', "if restores or control.get('Database cluster state') != 'in archive recovery' or data_is",
     "if True or data_is"),
    ('leaves the timeline of a killed promotion to the standby', '    forget_promotion(directory, own_timeline(control))\n', ''),
    ('rejoins a primary with another timeline of the same number', 'own_timeline(control) and not wrote_nothing(control):', 'own_timeline(control) and False:'),
    ('the fuse takes a pause for known', '(limit or self.may_be_replaced())', 'limit'),
    ('leaves recovery.signal to a primary', '            self.tidy(directory)\n', ''),
    ('waits for systemctl', 'outcome(process, SOON if clock() - since < SOON else 0)', 'outcome(process, 1000)'),
    ('crash in the watch', "        self.adopt(answering)\n", "        self.adopt(answering[9])\n"),
]


def mutated(sources, text, replacement):
    """An error where the text is not there exactly once: the list has to follow the program."""
    count = sum(source.count(text) for source in sources.values())
    if count != 1:
        raise ValueError('%d times in the guard: %r' % (count, text))
    return dict((name, source.replace(text, replacement)) for name, source in sources.items())


def hunt(sources, first, count, given=()):
    """(number of schedules that it took, name or seed, problems) until one is not as it should be; or None. Random schedules after those that are given:
    [(name, scenario)], whose own problems, which are known, do not count.
    """
    guard = adapter.load(sources)
    runs = itertools.chain(given, ((seed, schedules.scenario(seed)) for seed in range(first, first + count)))
    for number, (name, case) in enumerate(runs, 1):
        result = scenario.play(case, guard)
        kinds = set(scenario.kinds(result.problems)) - set(case.get('expect', {}).get('problems', []))
        if kinds and not ('expect' not in case and known.known(case, result, kinds)):
            return number, name, result.problems
    return None
